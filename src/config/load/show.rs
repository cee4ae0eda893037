//! The effective configuration as text, without its secrets.

use url::Url;

use crate::config::Config;

/// TOML of everything in force. Secrets print as `[redacted]`, passwords in URLs as `***`.
///
/// # Errors
/// None that a loaded configuration can cause.
pub fn effective(config: &Config) -> Result<String, toml::ser::Error> {
    let mut shown = config.clone();
    shown.store.url = without_password(&shown.store.url);
    toml::to_string_pretty(&shown)
}

fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
                return "[redacted]".to_owned();
            }
            // Drivers take passwords in the query too.
            if parsed.query().is_some_and(|query| query.contains("password")) {
                parsed.set_query(Some("[redacted]"));
            }
            parsed.into()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}
