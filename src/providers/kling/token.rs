//! The short-lived token (JWT, HS256) that an access and secret key sign for legacy paths. Twenty lines instead of a
//! dependency: there is one header, three claims and nothing to verify.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;

use crate::{
    domain::{error::ErrorCode, time::Timestamp},
    providers::adapter::{Fault, table::unsendable},
};

/// Valid for half an hour from five seconds ago, the claims Kling's own examples use: the five seconds cover a clock that
/// runs ahead of theirs (1003).
const VALID_SECONDS: i64 = 1800;
const SKEW_SECONDS: i64 = 5;

/// The token for `now`.
pub fn signed(access: &str, secret: &SecretString, now: Timestamp) -> Result<String, Fault> {
    let now = now.0.div_euclid(1000);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = json!({"iss": access, "exp": now + VALID_SECONDS, "nbf": now - SKEW_SECONDS});
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    // The secret's own bytes, not base64-decoded.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .map_err(|_| unsendable(ErrorCode::AuthenticationFailed, "the secret key cannot sign"))?;
    mac.update(format!("{header}.{claims}").as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{header}.{claims}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_has_the_documented_header_and_claims() {
        let token = signed("ak", &SecretString::from("sk"), Timestamp(1_700_000_000_999)).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(text(parts[0]), r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims: serde_json::Value = serde_json::from_str(&text(parts[1])).unwrap();
        assert_eq!(claims, json!({"iss": "ak", "exp": 1_700_001_800, "nbf": 1_699_999_995}));
    }

    #[test]
    fn the_signature_is_hmac_sha256_of_header_and_claims_under_the_plain_secret() {
        let token = signed("ak", &SecretString::from("sk"), Timestamp(0)).unwrap();
        let (signed_part, signature) = token.rsplit_once('.').unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"sk").unwrap();
        mac.update(signed_part.as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }
}
