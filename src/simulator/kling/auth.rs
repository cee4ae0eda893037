//! Kling's bearer: an API key on both path families, or an HS256 JWT on the legacy one only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::config::simulator::KlingSandbox;
use crate::simulator::http::Call;
use crate::simulator::state::Sim;
use crate::simulator::webhooks::hs256;

type Denied = (u16, &'static str);

/// Tells whose call it is: the API key, or the access key of a JWT.
pub(super) fn account(config: &KlingSandbox, call: &Call, new_style: bool) -> Result<String, Denied> {
    let Some(header) = call.header("authorization").filter(|header| !header.is_empty()) else {
        return Err((1001, "Authorization is empty"));
    };
    let Some(token) = header.strip_prefix("Bearer ") else { return Err((1002, "Authorization is invalid")) };
    if token.starts_with("eyJ") && token.split('.').count() == 3 {
        if new_style {
            return Err((1002, "Authorization is invalid: this API needs an API key, please create one in the console"));
        }
        return check_jwt(config, token, call.now / 1_000);
    }
    if Sim::key_is_good(&config.keys, token) { Ok(token.to_owned()) } else { Err((1002, "Authorization is invalid")) }
}

fn check_jwt(config: &KlingSandbox, token: &str, now: u64) -> Result<String, Denied> {
    const INVALID: Denied = (1002, "Authorization is invalid");
    let (signed, signature) = token.rsplit_once('.').ok_or(INVALID)?;
    let (header, claims) = signed.split_once('.').ok_or(INVALID)?;
    let (header, claims) = (decode(header).ok_or(INVALID)?, decode(claims).ok_or(INVALID)?);
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(INVALID);
    }
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let pair = config.pairs.iter().find(|pair| pair.access_key == issuer).ok_or((1002, "access key not found"))?;
    let expected = hs256(pair.secret_key.as_bytes(), signed.as_bytes());
    let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| INVALID)?;
    if !bool::from(given.ct_eq(&expected)) {
        return Err((1000, "signature is invalid"));
    }
    let seconds = |name: &str| claims.get(name).and_then(Value::as_u64);
    if seconds("nbf").is_some_and(|from| from > now) {
        return Err((1003, "Authorization is not active yet"));
    }
    match seconds("exp") {
        Some(until) if until > now => Ok(issuer.to_owned()),
        Some(_) => Err((1004, "Authorization has expired")),
        None => Err(INVALID),
    }
}

fn decode(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&serde_json::json!({"alg": "HS256", "typ": "JWT"})), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(hs256(secret.as_bytes(), signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_jwt_is_checked_for_signature_start_and_end() {
        let config = KlingSandbox::default();
        let check = |exp: u64, nbf: u64, secret: &str| {
            let claims = serde_json::json!({"iss": "sandbox-access", "exp": exp, "nbf": nbf});
            check_jwt(&config, &token(&claims, secret), 1_000).map_err(|denied| denied.0)
        };
        assert_eq!(check(2_000, 995, "sandbox-secret"), Ok("sandbox-access".into()));
        assert_eq!(check(2_000, 995, "other"), Err(1000));
        assert_eq!(check(2_000, 1_001, "sandbox-secret"), Err(1003));
        assert_eq!(check(1_000, 995, "sandbox-secret"), Err(1004));
    }
}
