//! Signatures of webhooks: HMAC-SHA256 over the raw body, compared in constant time.

use std::time::Duration;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{Signature, Webhook};
use crate::domain::time::Timestamp;

/// How far a signed timestamp may be from now, either way (Standard Webhooks, Kling: five minutes).
const TOLERANCE: Duration = Duration::from_secs(300);

/// Signatures looked at in one header: a rotation needs two.
const MOST: usize = 8;

/// Consoles show secrets with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// How a provider writes Standard Webhooks 1.0: HMAC over `id.timestamp.body`.
#[derive(Debug, Clone, Copy)]
pub struct Scheme {
    /// Header of the message's id.
    pub id: &'static str,
    /// Header of the instant of sending, seconds.
    pub timestamp: &'static str,
    /// Header of the signatures, separated by spaces.
    pub signature: &'static str,
    /// Whether a signature may come without its version `v1,`.
    pub bare: bool,
}

/// The headers of the standard.
pub const STANDARD_WEBHOOKS: Scheme =
    Scheme { id: "webhook-id", timestamp: "webhook-timestamp", signature: "webhook-signature", bare: false };

/// Verifies by the scheme. The key is what the secret holds in base64, after `whsec_` where that stands.
#[must_use]
pub fn verify(scheme: &Scheme, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
    if secrets.is_empty() {
        return Signature::Unsigned;
    }
    let header = |name| webhook.headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let (Some(id), Some(timestamp), Some(signatures)) = (header(scheme.id), header(scheme.timestamp), header(scheme.signature))
    else {
        return Signature::Forged;
    };
    if !timely(timestamp, webhook.at) {
        return Signature::Forged;
    }
    let given: Vec<Vec<u8>> = signatures.split_whitespace().take(MOST).filter_map(|text| decoded(scheme, text)).collect();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", webhook.body];
    let signed = secrets.iter().filter_map(key).any(|key| given.iter().any(|given| proves(&key, &parts, given)));
    if signed { Signature::Verified } else { Signature::Forged }
}

/// Verifies a header `sha256=<hexadecimal digits>` over the body alone; the key is the secret as text.
#[must_use]
pub fn verify_hexadecimal(header: &str, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
    if secrets.is_empty() {
        return Signature::Unsigned;
    }
    let given = webhook.headers.get(header).and_then(|value| value.to_str().ok()?.strip_prefix("sha256=")).and_then(bytes);
    let proven = |given: &Vec<u8>| secrets.iter().any(|key| proves(key.expose_secret().as_bytes(), &[webhook.body], given));
    if given.is_some_and(|given| proven(&given)) { Signature::Verified } else { Signature::Forged }
}

/// Seconds since the epoch; thirteen digits are milliseconds.
fn timely(timestamp: &str, now: Timestamp) -> bool {
    let Ok(number) = timestamp.parse::<i64>() else { return false };
    let sent = Timestamp(if timestamp.len() >= 13 { number } else { number.saturating_mul(1_000) });
    sent.since(now).max(now.since(sent)) <= TOLERANCE
}

fn decoded(scheme: &Scheme, text: &str) -> Option<Vec<u8>> {
    let signature = text.strip_prefix("v1,").or(scheme.bare.then_some(text))?;
    BASE64.decode(signature).ok()
}

fn key(secret: &SecretString) -> Option<Vec<u8>> {
    let text = secret.expose_secret();
    // An empty key would be everybody's.
    BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok().filter(|key| !key.is_empty())
}

fn proves(key: &[u8], parts: &[&[u8]], given: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(given).is_ok()
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        hexadecimal.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const KLING: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
    const BODY: &[u8] =
        br#"{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}"#;
    const SIGNED: &str = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=";
    const SENT: Timestamp = Timestamp(1_781_080_794_000);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        pairs.iter().map(pair).collect()
    }

    fn secrets(texts: &[&str]) -> Vec<SecretString> {
        texts.iter().map(|text| SecretString::from((*text).to_owned())).collect()
    }

    fn standard(signature: &str, at: Timestamp, with: &[&str]) -> Signature {
        let headers =
            headers(&[("webhook-id", "9876543210"), ("webhook-timestamp", "1781080794"), ("webhook-signature", signature)]);
        verify(&STANDARD_WEBHOOKS, &Webhook { headers: &headers, body: BODY, at }, &secrets(with))
    }

    #[test]
    fn the_vector_of_kling_is_verified_and_every_change_of_it_is_refused() {
        assert_eq!(standard(SIGNED, SENT, &[KLING]), Signature::Verified);
        assert_eq!(standard(SIGNED, SENT, &[]), Signature::Unsigned);
        assert_eq!(standard(SIGNED, SENT, &["whsec_b3RoZXI="]), Signature::Forged);
        for wrong in ["v1,", "v1", "", "v2,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=", &SIGNED[3..], "v1,???", "v1,AAAA"] {
            assert_eq!(standard(wrong, SENT, &[KLING]), Signature::Forged, "{wrong}");
        }
        for body in [&b"{}"[..], &BODY[1..], b""] {
            let headers =
                headers(&[("webhook-id", "9876543210"), ("webhook-timestamp", "1781080794"), ("webhook-signature", SIGNED)]);
            let webhook = Webhook { headers: &headers, body, at: SENT };
            assert_eq!(verify(&STANDARD_WEBHOOKS, &webhook, &secrets(&[KLING])), Signature::Forged);
        }
    }

    #[test]
    fn the_vector_of_replicate_is_verified() {
        let headers = headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ]);
        let webhook = Webhook { headers: &headers, body: br#"{"test": 2432232314}"#, at: Timestamp(1_614_265_330_000) };
        let with = secrets(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
        assert_eq!(verify(&STANDARD_WEBHOOKS, &webhook, &with), Signature::Verified);
    }

    #[test]
    fn while_a_secret_rotates_each_of_both_sides_may_be_ahead() {
        assert_eq!(standard(SIGNED, SENT, &["whsec_b3RoZXI=", KLING]), Signature::Verified, "we accept two");
        assert_eq!(standard(&format!("v1,AAAA v1a,BBBB {SIGNED}"), SENT, &[KLING]), Signature::Verified, "they send two");
        let many = format!("{} {SIGNED}", "v1,AAAA ".repeat(MOST));
        assert_eq!(standard(&many, SENT, &[KLING]), Signature::Forged, "a flood of signatures is cut");
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        for (shift, expected) in [
            (0, Signature::Verified),
            (300_000, Signature::Verified),
            (-300_000, Signature::Verified),
            (301_000, Signature::Forged),
        ] {
            assert_eq!(standard(SIGNED, Timestamp(SENT.0 + shift), &[KLING]), expected, "{shift}");
            assert_eq!(standard(SIGNED, Timestamp(SENT.0 - shift), &[KLING]), expected, "{shift}");
        }
        assert!(timely("1781080794000", SENT) && !timely("soon", SENT) && !timely("-1", SENT) && !timely("", SENT));
    }

    #[test]
    fn a_missing_header_is_a_forgery_where_a_secret_is_set() {
        let all = [("webhook-id", "9876543210"), ("webhook-timestamp", "1781080794"), ("webhook-signature", SIGNED)];
        for left_out in 0..all.len() {
            let some: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, pair)| *pair).collect();
            let headers = headers(&some);
            let webhook = Webhook { headers: &headers, body: BODY, at: SENT };
            assert_eq!(verify(&STANDARD_WEBHOOKS, &webhook, &secrets(&[KLING])), Signature::Forged);
        }
    }

    #[test]
    fn an_undecodable_or_empty_secret_proves_nothing() {
        for secret in ["whsec_", "whsec_!!", ""] {
            assert_eq!(standard(SIGNED, SENT, &[secret]), Signature::Forged, "{secret}");
        }
    }

    #[test]
    fn the_hexadecimal_form_signs_the_body_alone() {
        // RFC 4231, test case 2.
        let signed = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let check = |text: &str, body: &[u8], with: &[&str]| {
            let headers = headers(&[("x-bfl-signature", text)]);
            verify_hexadecimal("x-bfl-signature", &Webhook { headers: &headers, body, at: SENT }, &secrets(with))
        };
        let body = b"what do ya want for nothing?";
        assert_eq!(check(&format!("sha256={signed}"), body, &["new", "Jefe"]), Signature::Verified);
        assert_eq!(check(&format!("sha256={}", signed.to_uppercase()), body, &["Jefe"]), Signature::Verified);
        assert_eq!(check(&format!("sha256={signed}"), body, &[]), Signature::Unsigned);
        for wrong in [signed, "sha256=", "sha256=5b", "sha256=5", "sha256=zz", "sha1=5bdc"] {
            assert_eq!(check(wrong, body, &["Jefe"]), Signature::Forged, "{wrong}");
        }
        assert_eq!(check(&format!("sha256={signed}"), b"what do ya want", &["Jefe"]), Signature::Forged);
    }
}
