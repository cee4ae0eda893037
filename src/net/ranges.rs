//! What kind of address an IP address is, judged by our own table: `IpAddr::is_global` is not stable yet, and it would let
//! through what only *embeds* a private address.
//!
//! Source: the IANA IPv4 and IPv6 Special-Purpose Address Registries (read November 2026). Every row of both is denied, also
//! the few that are globally reachable (AS112, AMT, PCP anycast): they name infrastructure, never a provider.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What may be done with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// On the public internet.
    Global,
    /// On this machine or in a private network: only where the configuration allows it.
    Private(&'static str),
    /// Never: metadata services, multicast, reserved, or a disguise of another address.
    Never(&'static str),
}

use Class::{Global, Never, Private};

/// A row of the IPv4 table: network, prefix length, class. The first row that matches decides.
const V4: &[(Ipv4Addr, u32, Class)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never("this network (RFC 791)")),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Never("cloud metadata (Alibaba)")),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Never("cloud metadata (Azure)")),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private("private use (RFC 1918)")),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private("shared address space (RFC 6598)")),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Private("loopback (RFC 1122)")),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never("link local, cloud metadata (RFC 3927)")),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private("private use (RFC 1918)")),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Never("IETF protocol assignments (RFC 6890)")),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Never("documentation (RFC 5737)")),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Never("AS112-v4 (RFC 7535)")),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Never("AMT (RFC 7450)")),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Never("deprecated 6to4 relay (RFC 7526)")),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private("private use (RFC 1918)")),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Never("direct delegation AS112 (RFC 7534)")),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Never("benchmarking (RFC 2544)")),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Never("documentation (RFC 5737)")),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Never("documentation (RFC 5737)")),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never("multicast (RFC 5771)")),
    // Holds the limited broadcast address too.
    (Ipv4Addr::new(240, 0, 0, 0), 4, Never("reserved (RFC 1112)")),
];

/// A row of the IPv6 table. What lies outside 2000::/3 and matches no row is not global unicast, so it is denied as well.
const V6: &[(Ipv6Addr, u32, Class)] = &[
    (Ipv6Addr::LOCALHOST, 128, Private("loopback (RFC 4291)")),
    (Ipv6Addr::UNSPECIFIED, 128, Never("unspecified (RFC 4291)")),
    // Below the two rows above, which would otherwise read as the IPv4 addresses 0.0.0.1 and 0.0.0.0.
    (Ipv6Addr::UNSPECIFIED, 96, Never("IPv4-compatible (RFC 4291)")),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Never("local-use NAT64 (RFC 8215)")),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, Never("discard only (RFC 6666)")),
    (Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0), 64, Never("dummy prefix (RFC 9780)")),
    // Teredo, benchmarking, ORCHID, DRIP and the anycast rows all lie in it.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Never("IETF protocol assignments (RFC 2928)")),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Never("documentation (RFC 3849)")),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Never("6to4 (RFC 3056)")),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, Never("direct delegation AS112 (RFC 7534)")),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Never("documentation (RFC 9637)")),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, Never("segment routing (RFC 9602)")),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Never("cloud metadata (AWS)")),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Never("cloud metadata (Google)")),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private("unique local (RFC 4193)")),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Never("link local (RFC 4291)")),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Never("multicast (RFC 4291)")),
];

/// Global unicast (RFC 4291 §2.4 as assigned by IANA).
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// NAT64's well-known prefix: on an IPv6-only network every provider that speaks only IPv4 is reached by such an address, so
/// it is judged by the IPv4 address it stands for (RFC 6052 §3.1 forbids private ones in it, and so do we).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The class of an address.
#[must_use]
pub fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    let row = V4.iter().find(|(network, prefix, _)| within_v4(address, *network, *prefix));
    row.map_or(Global, |(_, _, class)| *class)
}

fn classify_v6(address: Ipv6Addr) -> Class {
    // The kernel connects a mapped address over IPv4, to the very address it holds.
    if let Some(mapped) = address.to_ipv4_mapped() {
        return classify_v4(mapped);
    }
    if within_v6(address, NAT64.0, NAT64.1) {
        return match classify_v4(last_four(address)) {
            Global => Global,
            Private(_) | Never(_) => Never("NAT64 of an address that is not public (RFC 6052)"),
        };
    }
    if let Some((_, _, class)) = V6.iter().find(|(network, prefix, _)| within_v6(address, *network, *prefix)) {
        return *class;
    }
    if is_isatap(address) {
        return Never("ISATAP (RFC 5214)");
    }
    if within_v6(address, GLOBAL_UNICAST.0, GLOBAL_UNICAST.1) { Global } else { Never("not global unicast (RFC 4291)") }
}

/// An interface id `0000:5efe:a.b.c.d` or `0200:5efe:a.b.c.d` tunnels to that IPv4 address, whatever the prefix (RFC 5214 §6.1).
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, high, low, _, _] = address.segments();
    (high & !0x0200) == 0 && low == 0x5efe
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn within_v4(address: Ipv4Addr, network: Ipv4Addr, prefix: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

fn within_v6(address: Ipv6Addr, network: Ipv6Addr, prefix: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests;
