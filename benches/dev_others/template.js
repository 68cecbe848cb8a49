'use strict'
// It knows no stage variables and no $context.requestTimeEpoch, so what they would hold is written into the template.
const { readFileSync } = require('node:fs')

module.exports.template = () =>
  '#set($destination = "s3://bench")' +
  readFileSync(process.env.MAPPING_TEMPLATE, 'utf8')
    .replace('$stageVariables.validToken', process.env.VALID_TOKEN)
    .replace('$context.requestTimeEpoch', '0')
