//! AWS's partitions: each has ARNs, regions and host names of its own. Pure.

/// A partition: how its ARNs begin, how its regions' names begin, and what its endpoints' names end
/// with.
struct Partition {
    id: &'static str,
    regions: &'static str,
    dns_suffix: &'static str,
}

/// Source: botocore's `partitions.json` (`id`, `regionRegex`, `dnsSuffix`). The last one is for all
/// other regions.
const PARTITIONS: [Partition; 8] = [
    Partition { id: "aws-cn", regions: "cn-", dns_suffix: "amazonaws.com.cn" },
    Partition { id: "aws-eusc", regions: "eusc-", dns_suffix: "amazonaws.eu" },
    Partition { id: "aws-iso", regions: "us-iso-", dns_suffix: "c2s.ic.gov" },
    Partition { id: "aws-iso-b", regions: "us-isob-", dns_suffix: "sc2s.sgov.gov" },
    Partition { id: "aws-iso-e", regions: "eu-isoe-", dns_suffix: "cloud.adc-e.uk" },
    Partition { id: "aws-iso-f", regions: "us-isof-", dns_suffix: "csp.hci.ic.gov" },
    Partition { id: "aws-us-gov", regions: "us-gov-", dns_suffix: "amazonaws.com" },
    Partition { id: "aws", regions: "", dns_suffix: "amazonaws.com" },
];

/// The domain that the endpoints of a partition end with; a partition that isn't known has the
/// oldest's.
pub fn dns_suffix(partition: &str) -> &'static str {
    PARTITIONS
        .iter()
        .find(|known| known.id == partition)
        .map_or("amazonaws.com", |known| known.dns_suffix)
}

/// The partition that a region is in, by its name.
pub fn of_region(region: &str) -> &'static str {
    PARTITIONS
        .iter()
        .find(|known| region.starts_with(known.regions))
        .map_or("aws", |known| known.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::queue_url, observed::Account};

    #[test]
    fn each_region_is_in_its_partition_and_its_queues_have_its_host_names() {
        let cases = [
            ("us-east-1", "aws", "https://sqs.us-east-1.amazonaws.com/1/q"),
            ("us-west-1", "aws", "https://sqs.us-west-1.amazonaws.com/1/q"),
            ("cn-north-1", "aws-cn", "https://sqs.cn-north-1.amazonaws.com.cn/1/q"),
            ("us-gov-west-1", "aws-us-gov", "https://sqs.us-gov-west-1.amazonaws.com/1/q"),
            ("eusc-de-east-1", "aws-eusc", "https://sqs.eusc-de-east-1.amazonaws.eu/1/q"),
            ("us-iso-east-1", "aws-iso", "https://sqs.us-iso-east-1.c2s.ic.gov/1/q"),
            ("us-isob-east-1", "aws-iso-b", "https://sqs.us-isob-east-1.sc2s.sgov.gov/1/q"),
            ("eu-isoe-west-1", "aws-iso-e", "https://sqs.eu-isoe-west-1.cloud.adc-e.uk/1/q"),
            ("us-isof-south-1", "aws-iso-f", "https://sqs.us-isof-south-1.csp.hci.ic.gov/1/q"),
        ];
        for (region, partition, url) in cases {
            assert_eq!(of_region(region), partition, "{region}");
            let account = Account {
                id: "1".into(),
                region: region.into(),
                partition: partition.into(),
                caller: String::new(),
            };
            assert_eq!(queue_url(&account, "q"), url);
        }
    }
}
