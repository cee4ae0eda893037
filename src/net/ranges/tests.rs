//! One test for each row of the two registries, the disguises of RFC 4291, 3056, 4380, 5214, 6052, and the neighbours of ours.

use std::net::IpAddr;

use super::{Class, classify};

fn class(text: &str) -> Class {
    classify(text.parse::<IpAddr>().expect("an address"))
}

macro_rules! rows {
    ($($name:ident: $verdict:ident, [$($address:literal),+];)+) => {$(
        #[test]
        fn $name() {
            for address in [$($address),+] {
                assert!(matches!(class(address), rows!(@$verdict)), "{address}: {:?}", class(address));
            }
        }
    )+};
    (@never) => { Class::Never(_) };
    (@private) => { Class::Private(_) };
    (@global) => { Class::Global };
}

rows! {
    // IPv4 registry.
    this_network_is_denied: never, ["0.0.0.0", "0.0.0.1", "0.255.255.255"];
    private_use_10_is_private: private, ["10.0.0.0", "10.255.255.255"];
    shared_address_space_is_private: private, ["100.64.0.0", "100.127.255.255"];
    loopback_is_private: private, ["127.0.0.0", "127.0.0.1", "127.255.255.255"];
    link_local_is_denied: never, ["169.254.0.0", "169.254.255.255"];
    private_use_172_is_private: private, ["172.16.0.0", "172.31.255.255"];
    ietf_protocol_assignments_are_denied: never, ["192.0.0.0", "192.0.0.255"];
    ipv4_service_continuity_is_denied: never, ["192.0.0.1", "192.0.0.7"];
    ipv4_dummy_address_is_denied: never, ["192.0.0.8"];
    port_control_protocol_anycast_is_denied: never, ["192.0.0.9"];
    turn_anycast_is_denied: never, ["192.0.0.10"];
    nat64_discovery_is_denied: never, ["192.0.0.170", "192.0.0.171"];
    documentation_1_is_denied: never, ["192.0.2.0", "192.0.2.255"];
    as112_v4_is_denied: never, ["192.31.196.0", "192.31.196.255"];
    amt_is_denied: never, ["192.52.193.0", "192.52.193.255"];
    deprecated_6to4_relay_is_denied: never, ["192.88.99.0", "192.88.99.2", "192.88.99.255"];
    private_use_192_is_private: private, ["192.168.0.0", "192.168.255.255"];
    direct_delegation_as112_is_denied: never, ["192.175.48.0", "192.175.48.255"];
    benchmarking_is_denied: never, ["198.18.0.0", "198.19.255.255"];
    documentation_2_is_denied: never, ["198.51.100.0", "198.51.100.255"];
    documentation_3_is_denied: never, ["203.0.113.0", "203.0.113.255"];
    multicast_is_denied: never, ["224.0.0.0", "239.255.255.255"];
    reserved_is_denied: never, ["240.0.0.0", "255.255.255.254"];
    limited_broadcast_is_denied: never, ["255.255.255.255"];
    // IPv6 registry.
    loopback_v6_is_private: private, ["::1"];
    unspecified_v6_is_denied: never, ["::"];
    nat64_of_a_public_address_is_global: global, ["64:ff9b::8.8.8.8"];
    nat64_of_anything_else_is_denied: never, ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"];
    local_use_nat64_is_denied: never, ["64:ff9b:1::", "64:ff9b:1::8.8.8.8"];
    discard_only_is_denied: never, ["100::", "100::ffff:ffff:ffff:ffff"];
    dummy_prefix_is_denied: never, ["100:0:0:1::", "100:0:0:1:ffff::"];
    ietf_protocol_assignments_v6_are_denied: never, ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"];
    teredo_is_denied: never, ["2001:0:4136:e378:8000:63bf:3fff:fdd2"];
    anycast_v6_is_denied: never, ["2001:1::1", "2001:1::2", "2001:1::3"];
    benchmarking_v6_is_denied: never, ["2001:2::", "2001:2:0:ffff::"];
    amt_v6_is_denied: never, ["2001:3::"];
    as112_v6_is_denied: never, ["2001:4:112::"];
    deprecated_orchid_is_denied: never, ["2001:10::"];
    orchid_v2_is_denied: never, ["2001:20::"];
    drone_remote_id_is_denied: never, ["2001:30::"];
    documentation_v6_is_denied: never, ["2001:db8::", "2001:db8:ffff::1"];
    six_to_four_is_denied: never, ["2002::", "2002:7f00:1::", "2002:808:808::1"];
    direct_delegation_as112_v6_is_denied: never, ["2620:4f:8000::"];
    newer_documentation_v6_is_denied: never, ["3fff::", "3fff:fff:ffff::"];
    segment_routing_is_denied: never, ["5f00::", "5f00:ffff::1"];
    unique_local_is_private: private, ["fc00::", "fdff:ffff::1"];
    link_local_v6_is_denied: never, ["fe80::1", "febf::1"];
    multicast_v6_is_denied: never, ["ff02::1", "ff0e::1"];
    // Disguises.
    mapped_addresses_are_judged_by_what_they_hold: private, ["::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:7f00:1"];
    mapped_metadata_is_denied: never, ["::ffff:169.254.169.254", "::ffff:0.0.0.0"];
    mapped_public_addresses_are_global: global, ["::ffff:8.8.8.8"];
    ipv4_compatible_is_denied: never, ["::127.0.0.1", "::8.8.8.8", "::2"];
    isatap_is_denied: never, ["2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:7f00:1", "fe80::5efe:192.168.0.1"];
    site_local_and_unassigned_are_denied: never, ["fec0::1", "4000::1", "1::1", "8000::1"];
    // Metadata services.
    cloud_metadata_is_denied: never, ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"];
    // Neighbours.
    public_addresses_are_global: global, ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
        "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2003::1", "3ffe::1"];
}
