//! Java's `String.format`: `%s %S %d %x %X %o %c %b %h %e %f %g %a %n %%`, with flags, width,
//! precision and argument indexes.
//!
//! Dates (`%t`) are refused: nothing that a template can get hold of is one.

use super::{
    eval::Eval,
    java::{Thrown, java, text_of_value},
    number::{BigDecimal, Number},
    text,
    value::{Value, hash_code},
};

const MAX_WIDTH: usize = 100_000;

struct Directive {
    index: Option<usize>,
    /// `<`: the same argument again.
    again: bool,
    flags: String,
    width: Option<usize>,
    precision: Option<usize>,
    conversion: char,
}

fn unknown(spec: &str) -> Thrown {
    java("UnknownFormatConversionException", format!("`%{spec}` is not a conversion"))
}

/// What stands behind a `%`, and how many characters it takes.
fn directive(chars: &[char]) -> Result<(Directive, usize), Thrown> {
    let mut at = 0;
    let digits = |from: usize| {
        let length = chars[from..].iter().take_while(|c| c.is_ascii_digit()).count();
        (
            length,
            chars[from..from + length]
                .iter()
                .collect::<String>()
                .parse::<usize>()
                .unwrap_or(usize::MAX),
        )
    };
    let mut result = Directive {
        index: None,
        again: false,
        flags: String::new(),
        width: None,
        precision: None,
        conversion: ' ',
    };
    let (length, number) = digits(0);
    if length > 0 && chars.get(length) == Some(&'$') {
        result.index = Some(number);
        at = length + 1;
    } else if chars.first() == Some(&'<') {
        result.again = true;
        at = 1;
    }
    while let Some(c) =
        chars.get(at).filter(|c| matches!(c, '-' | '#' | '+' | ' ' | '0' | ',' | '('))
    {
        if result.flags.contains(*c) {
            return Err(java("DuplicateFormatFlagsException", format!("the flag `{c}` twice")));
        }
        result.flags.push(*c);
        at += 1;
    }
    let (length, number) = digits(at);
    if length > 0 {
        result.width = Some(number);
        at += length;
    }
    if chars.get(at) == Some(&'.') {
        let (length, number) = digits(at + 1);
        if length == 0 {
            return Err(unknown("."));
        }
        result.precision = Some(number);
        at += 1 + length;
    }
    match chars.get(at) {
        Some(c) if c.is_ascii_alphabetic() || *c == '%' => result.conversion = *c,
        other => return Err(unknown(&other.map_or(String::new(), char::to_string))),
    }
    if result.width.is_some_and(|width| width > MAX_WIDTH)
        || result.precision.is_some_and(|precision| precision > MAX_WIDTH)
    {
        return Err(java("IllegalFormatException", "a width or precision is too large"));
    }
    Ok((result, at + 1))
}

pub(crate) fn format<'a>(
    eval: &mut Eval<'a>,
    pattern: &str,
    arguments: &[Value<'a>],
) -> Result<String, Thrown> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    let (mut ordinary, mut last) = (0, None);
    while at < chars.len() {
        if chars[at] != '%' {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let (directive, length) = directive(&chars[at + 1..])?;
        at += 1 + length;
        if directive.index == Some(0) {
            return Err(java(
                "IllegalFormatArgumentIndexException",
                "arguments are counted from 1",
            ));
        }
        if directive.again && matches!(directive.conversion, 'n' | '%') {
            return Err(java("IllegalFormatFlagsException", "Flags = '<'"));
        }
        match directive.conversion {
            'n' => {
                if let Some(width) = directive.width {
                    return Err(java("IllegalFormatWidthException", width.to_string()));
                }
                if let Some(precision) = directive.precision {
                    return Err(java("IllegalFormatPrecisionException", precision.to_string()));
                }
                if !directive.flags.is_empty() {
                    return Err(java(
                        "IllegalFormatFlagsException",
                        format!("Flags = '{}'", directive.flags),
                    ));
                }
                out.push('\n');
                continue;
            }
            '%' => {
                if let Some(precision) = directive.precision {
                    return Err(java("IllegalFormatPrecisionException", precision.to_string()));
                }
                if directive.flags.chars().any(|c| c != '-') {
                    return Err(java(
                        "IllegalFormatFlagsException",
                        format!("Flags = '{}'", directive.flags),
                    ));
                }
                pad(&mut out, "%", &directive)?;
                continue;
            }
            _ => {}
        }
        let index = match directive.index {
            Some(index) => index - 1,
            None if directive.again => last.ok_or_else(|| {
                java("MissingFormatArgumentException", "`%<` without an argument before it")
            })?,
            None => {
                ordinary += 1;
                ordinary - 1
            }
        };
        last = Some(index);
        let Some(argument) = arguments.get(index) else {
            return Err(java(
                "MissingFormatArgumentException",
                format!("Format specifier '%{}'", directive.conversion),
            ));
        };
        convert(eval, &directive, argument, &mut out)?;
        eval.make(out.len().min(1024))?;
    }
    Ok(out)
}

/// Appends a text, filled up to the width.
fn pad(out: &mut String, text: &str, directive: &Directive) -> Result<(), Thrown> {
    let left = directive.flags.contains('-');
    if left && directive.width.is_none() {
        return Err(java("MissingFormatWidthException", "`-` needs a width"));
    }
    let fill = directive.width.unwrap_or(0).saturating_sub(text::length(text));
    if !left {
        out.extend(std::iter::repeat_n(' ', fill));
    }
    out.push_str(text);
    if left {
        out.extend(std::iter::repeat_n(' ', fill));
    }
    Ok(())
}

fn convert<'a>(
    eval: &mut Eval<'a>,
    directive: &Directive,
    argument: &Value<'a>,
    out: &mut String,
) -> Result<(), Thrown> {
    let upper = directive.conversion.is_ascii_uppercase();
    let mismatch = || {
        java(
            "IllegalFormatConversionException",
            format!("{} != {}", directive.conversion, argument.class()),
        )
    };
    let no_numeric_flags = || {
        directive.flags.chars().find(|c| matches!(c, '+' | ' ' | '0' | ',' | '(')).map_or(
            Ok(()),
            |c| {
                Err(java(
                    "FormatFlagsConversionMismatchException",
                    format!("Conversion = {}, Flags = {c}", directive.conversion),
                ))
            },
        )
    };
    let kind = directive.conversion.to_ascii_lowercase();
    let refused_flag = match kind {
        'b' | 'h' | 'c' | 's' | 'd' | 'g' if directive.flags.contains('#') => Some('#'),
        'e' | 'a' if directive.flags.contains(',') => Some(','),
        'a' if directive.flags.contains('(') => Some('('),
        _ => None,
    };
    if let Some(flag) = refused_flag {
        return Err(java(
            "FormatFlagsConversionMismatchException",
            format!("Conversion = {kind}, Flags = {flag}"),
        ));
    }
    let mut made = match kind {
        's' | 'b' | 'h' => {
            no_numeric_flags()?;
            let text = match (kind, argument) {
                ('b', Value::Null) => "false".to_owned(),
                ('b', Value::Bool(value)) => value.to_string(),
                ('b', _) => "true".to_owned(),
                ('h', Value::Null) => "null".to_owned(),
                ('h', value) => format!("{:x}", hash_code(value, 0).unwrap_or(0)),
                (_, value) => text_of_value(eval, value)?,
            };
            match directive.precision {
                Some(most) if most < text::length(&text) => text::slice(&text, 0, most),
                _ => text,
            }
        }
        'c' => {
            no_numeric_flags()?;
            if directive.precision.is_some() {
                return Err(java(
                    "IllegalFormatPrecisionException",
                    "a character has no precision",
                ));
            }
            match argument {
                Value::Null => "null".to_owned(),
                Value::Char(unit) => text::from_units(&[*unit]),
                Value::Int(code) => match u32::try_from(*code).ok().and_then(char::from_u32) {
                    Some(c) => c.to_string(),
                    None => {
                        return Err(java(
                            "IllegalFormatCodePointException",
                            format!("Code point = 0x{code:x}"),
                        ));
                    }
                },
                _ => return Err(mismatch()),
            }
        }
        'd' | 'x' | 'o' => {
            if directive.precision.is_some() {
                return Err(java(
                    "IllegalFormatPrecisionException",
                    "a whole number has no precision",
                ));
            }
            if argument.is_null() {
                "null".to_owned()
            } else {
                return whole(directive, argument, upper, out, mismatch);
            }
        }
        'f' | 'e' | 'g' | 'a' => {
            if argument.is_null() {
                "null".to_owned()
            } else {
                return float(directive, argument, upper, out, mismatch);
            }
        }
        _ => return Err(unknown(&directive.conversion.to_string())),
    };
    if upper {
        made = made.to_uppercase();
    }
    pad(out, &made, directive)
}

fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Sign, filling with zeros, parentheses and width around the digits of a number.
fn finish(
    directive: &Directive,
    negative: bool,
    digits: String,
    upper: bool,
    out: &mut String,
) -> Result<(), Thrown> {
    let has = |flag: char| directive.flags.contains(flag);
    if (has('0') || has('-')) && directive.width.is_none() {
        return Err(java("MissingFormatWidthException", "`0` and `-` need a width"));
    }
    if (has('+') && has(' ')) || (has('-') && has('0')) {
        return Err(java("IllegalFormatFlagsException", format!("Flags = '{}'", directive.flags)));
    }
    let (before, behind) = match (negative, has('('), has('+'), has(' ')) {
        (true, true, ..) => ("(", ")"),
        (true, ..) => ("-", ""),
        (false, _, true, _) => ("+", ""),
        (false, _, _, true) => (" ", ""),
        _ => ("", ""),
    };
    let mut digits = digits;
    if has('0') {
        let width = directive.width.unwrap_or(0).saturating_sub(before.len() + behind.len());
        digits = format!("{}{digits}", "0".repeat(width.saturating_sub(digits.len())));
    }
    let mut text = format!("{before}{digits}{behind}");
    if upper {
        text = text.to_uppercase();
    }
    pad(out, &text, directive)
}

fn whole(
    directive: &Directive,
    argument: &Value,
    upper: bool,
    out: &mut String,
    mismatch: impl Fn() -> Thrown,
) -> Result<(), Thrown> {
    let number = argument.number().ok_or_else(&mismatch)?;
    if directive.conversion == 'd' {
        let text = match &number {
            Number::Int(n) => n.to_string(),
            Number::Long(n) => n.to_string(),
            Number::Big(n) => n.to_string(),
            _ => return Err(mismatch()),
        };
        let (negative, digits) =
            text.strip_prefix('-').map_or((false, text.as_str()), |digits| (true, digits));
        let digits =
            if directive.flags.contains(',') { grouped(digits) } else { digits.to_owned() };
        return finish(directive, negative, digits, false, out);
    }
    let octal = directive.conversion == 'o';
    let digits = match &number {
        Number::Int(n) if octal => format!("{n:o}"),
        Number::Int(n) => format!("{n:x}"),
        Number::Long(n) if octal => format!("{n:o}"),
        Number::Long(n) => format!("{n:x}"),
        Number::Big(n) => n.to_str_radix(if octal { 8 } else { 16 }),
        _ => return Err(mismatch()),
    };
    if !matches!(number, Number::Big(_))
        && let Some(flag) = directive.flags.chars().find(|c| matches!(c, '+' | ' ' | ',' | '('))
    {
        return Err(java(
            "FormatFlagsConversionMismatchException",
            format!("Conversion = {}, Flags = {flag}", directive.conversion),
        ));
    }
    let (negative, digits) =
        digits.strip_prefix('-').map_or((false, digits.as_str()), |digits| (true, digits));
    let prefix = match (directive.flags.contains('#'), octal) {
        (true, true) => "0",
        (true, false) => "0x",
        _ => "",
    };
    finish(directive, negative, format!("{prefix}{digits}"), upper, out)
}

fn float(
    directive: &Directive,
    argument: &Value,
    upper: bool,
    out: &mut String,
    mismatch: impl Fn() -> Thrown,
) -> Result<(), Thrown> {
    let number = argument.number().ok_or_else(&mismatch)?;
    let decimal = match &number {
        Number::Float(_) | Number::Double(_) => {
            let value = number.to_double();
            if !value.is_finite() {
                let text = if value.is_nan() { "NaN" } else { "Infinity" };
                let sign = if value < 0.0 { "-" } else { "" };
                let text = format!("{sign}{text}");
                return pad(out, &if upper { text.to_uppercase() } else { text }, directive);
            }
            // Java rounds the shortest decimal form, not the exact binary value.
            let mut text = String::new();
            super::number::push_double(value, &mut text);
            BigDecimal::parse(&text).ok_or_else(&mismatch)?
        }
        Number::Decimal(n) => n.clone(),
        _ => return Err(mismatch()),
    };
    let negative = match &number {
        Number::Double(n) => n.is_sign_negative(),
        Number::Float(n) => n.is_sign_negative(),
        _ => decimal.unscaled.sign() == num_bigint::Sign::Minus,
    };
    if directive.conversion.eq_ignore_ascii_case(&'a') {
        let Number::Double(value) = number else { return Err(mismatch()) };
        let digits = super::number::hexadecimal(
            value.abs(),
            directive.precision.map(|precision| precision.max(1)),
        );
        let padded = directive
            .flags
            .contains('0')
            .then(|| directive.width.unwrap_or(0).saturating_sub(digits.len()));
        let digits = match padded {
            Some(fill) => format!("0x{}{}", "0".repeat(fill), &digits[2..]),
            None => digits,
        };
        return finish(directive, negative, digits, upper, out);
    }
    let precision = directive.precision.unwrap_or(6);
    let digits = decimal.unscaled.magnitude().to_string();
    match directive.conversion.to_ascii_lowercase() {
        'f' => {
            let (whole, fraction) = fixed(&digits, decimal.scale, precision);
            let whole = if directive.flags.contains(',') { grouped(&whole) } else { whole };
            let text = match precision {
                0 if directive.flags.contains('#') => format!("{whole}."),
                0 => whole,
                _ => format!("{whole}.{fraction}"),
            };
            finish(directive, negative, text, upper, out)
        }
        'e' => {
            let mut text = scientific(&digits, decimal.scale, precision);
            if precision == 0 && directive.flags.contains('#') {
                text.insert(1, '.');
            }
            finish(directive, negative, text, upper, out)
        }
        _ => {
            let precision = if precision == 0 { 1 } else { precision };
            let zero = digits == "0";
            let exponent = digits.len() as i64 - 1 - i64::from(decimal.scale);
            if zero || (exponent >= -4 && exponent < precision as i64) {
                let places =
                    if zero { precision as i64 - 1 } else { precision as i64 - 1 - exponent };
                let (whole, fraction) = fixed(&digits, decimal.scale, places.max(0) as usize);
                let whole = if directive.flags.contains(',') { grouped(&whole) } else { whole };
                let text = if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") };
                finish(directive, negative, text, upper, out)
            } else {
                finish(
                    directive,
                    negative,
                    scientific(&digits, decimal.scale, precision - 1),
                    upper,
                    out,
                )
            }
        }
    }
}

/// Rounds decimal digits half up to a number of them. The second value tells that a digit was
/// gained.
fn round(digits: &str, keep: usize) -> (String, bool) {
    if digits.len() <= keep {
        return (format!("{digits}{}", "0".repeat(keep - digits.len())), false);
    }
    let mut kept: Vec<u8> = digits.as_bytes()[..keep].to_vec();
    if digits.as_bytes()[keep] >= b'5' {
        let mut at = keep;
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                return (String::from_utf8(kept).unwrap_or_default(), true);
            }
            at -= 1;
            if kept[at] == b'9' {
                kept[at] = b'0';
            } else {
                kept[at] += 1;
                break;
            }
        }
    }
    (String::from_utf8(kept).unwrap_or_default(), false)
}

/// Whole part and exactly `places` digits behind the point.
fn fixed(digits: &str, scale: i32, places: usize) -> (String, String) {
    let scale = i64::from(scale);
    let digits = if scale < 0 {
        format!("{digits}{}", "0".repeat((-scale).min(400) as usize))
    } else {
        digits.to_owned()
    };
    let scale = scale.max(0) as usize;
    // At least one digit before the point.
    let digits = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
    let whole = digits.len() - scale;
    let (rounded, carried) = round(&digits, whole + places);
    let (whole, fraction) = rounded.split_at(whole + usize::from(carried));
    (whole.to_owned(), fraction.to_owned())
}

fn scientific(digits: &str, scale: i32, precision: usize) -> String {
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        let point =
            if precision > 0 { format!(".{}", "0".repeat(precision)) } else { String::new() };
        return format!("0{point}e+00");
    }
    let mut exponent = significant.len() as i64 - 1 - i64::from(scale);
    let (rounded, carried) = round(significant, precision + 1);
    let rounded = if carried {
        exponent += 1;
        rounded[..precision + 1].to_owned()
    } else {
        rounded
    };
    let (first, rest) = rounded.split_at(1);
    let point = if rest.is_empty() { String::new() } else { format!(".{rest}") };
    format!("{first}{point}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
