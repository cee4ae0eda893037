//! Fault directives: what a test asks the sandbox to do wrong, in the prompt (`[[sim drop=after]]`) or by rule.
//!
//! The prompt is kept as it was sent; directives are only read from it. A rule (config or `POST /faults`) applies to the
//! next submits of a provider; where both speak, the prompt wins.

use serde::{Deserialize, Serialize};

use super::Provider;
use crate::config::simulator::FaultRule;

/// Says when a connection is cut without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cut {
    /// Nothing was accepted or billed.
    Before,
    /// The task exists and is billed; only the answer is lost.
    After,
}

/// Holds the directives of one submit; the keys are those of `[[sim key=value]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Directives {
    /// First submits of this prompt to which `refuse`, `drop`, `http` and `hang` apply; absent: all.
    pub(super) times: Option<u32>,
    /// First submits of this prompt that get the provider's 429.
    pub throttle: Option<u32>,
    /// Ends as failed with this code or text.
    pub fail: Option<String>,
    /// Refuses the submit with this documented code.
    pub refuse: Option<String>,
    /// Cuts the connection.
    pub cut: Option<Cut>,
    /// Answers the submit with this bare status.
    pub http: Option<u16>,
    /// Whether `http` accepts and bills the task all the same.
    pub billed: bool,
    /// Milliseconds the submit's answer is held back.
    pub hang: Option<u64>,
    /// Milliseconds the task takes.
    pub slow: Option<u64>,
    /// Status word told while the task is pending.
    pub status: Option<String>,
    /// Downloads cut short; `u32::MAX` for always.
    pub truncate: u32,
    /// Content type of the output.
    pub content_type: Option<String>,
    /// Serves an HTML page as the output.
    pub html: bool,
    /// Seconds an output lives.
    pub expire: Option<u64>,
    /// First sets of addresses that are gone when they are fetched: each poll after the end signs a new set.
    pub resign: u32,
    /// First polls that answer 500 or garbage.
    pub pollfail: u32,
    /// Sends no webhook.
    pub nowebhook: bool,
    /// Milliseconds for which lists and look-ups by the client's id do not show the task: they lag behind.
    pub hide: Option<u64>,
    /// Number of outputs.
    pub outputs: Option<u32>,
}

impl Directives {
    /// Reads all `[[sim …]]` groups of a prompt. Unknown keys are logged, not refused: the wire stays the provider's.
    pub(super) fn from_prompt(prompt: &str) -> Self {
        let mut found = Self::default();
        for group in prompt.split("[[sim").skip(1) {
            let Some((inside, _)) = group.split_once("]]") else { continue };
            for (key, value) in pairs(inside) {
                if let Err(reason) = found.set(&key, &value) {
                    tracing::warn!(directive = %key, %reason, "directive ignored");
                }
            }
        }
        found
    }

    /// Reads the directives of a rule.
    ///
    /// # Errors
    /// The key or value that is not known.
    pub(super) fn from_rule(rule: &FaultRule) -> Result<Self, String> {
        let mut found = Self::default();
        for (key, value) in &rule.directives {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            found.set(key, &text).map_err(|reason| format!("{key}: {reason}"))?;
        }
        Ok(found)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "times" => self.times = Some(number(value)?),
            "throttle" => self.throttle = Some(number(value)?),
            "fail" => self.fail = Some(value.to_owned()),
            "refuse" => self.refuse = Some(value.to_owned()),
            "drop" => self.cut = Some(cut(value)?),
            "http" => self.http = Some(number(value)?),
            "billed" => self.billed = flag(value)?,
            "hang" => self.hang = Some(number(value)?),
            "slow" => self.slow = Some(number(value)?),
            "status" => self.status = Some(value.to_owned()),
            "truncate" if value == "always" => self.truncate = u32::MAX,
            "truncate" => self.truncate = number(value)?,
            "type" => self.content_type = Some(value.to_owned()),
            "bytes" if value == "html" => self.html = true,
            "bytes" => return Err("only `html` is known".into()),
            "expire" => self.expire = Some(number(value)?),
            "resign" => self.resign = number(value)?,
            "pollfail" => self.pollfail = number(value)?,
            "nowebhook" => self.nowebhook = flag(value)?,
            "hide" => self.hide = Some(number(value)?),
            "outputs" => self.outputs = Some(number(value)?),
            _ => return Err("unknown directive".into()),
        }
        Ok(())
    }

    /// Drops what disturbs only the submit itself, once it has been disturbed often enough.
    pub(super) fn relent(&mut self) {
        (self.refuse, self.cut, self.http, self.hang) = (None, None, None, None);
    }

    /// Takes over what `rule` says wherever these directives are silent.
    fn or(mut self, rule: &Self) -> Self {
        let Self { throttle, fail, refuse, cut, http, hang, slow, status, content_type, expire, outputs, .. } = rule.clone();
        self.throttle = self.throttle.or(throttle);
        self.fail = self.fail.or(fail);
        self.refuse = self.refuse.or(refuse);
        self.cut = self.cut.or(cut);
        self.http = self.http.or(http);
        self.hang = self.hang.or(hang);
        self.slow = self.slow.or(slow);
        self.status = self.status.or(status);
        self.content_type = self.content_type.or(content_type);
        self.expire = self.expire.or(expire);
        self.outputs = self.outputs.or(outputs);
        self.hide = self.hide.or(rule.hide);
        self.truncate = self.truncate.max(rule.truncate);
        self.resign = self.resign.max(rule.resign);
        self.pollfail = self.pollfail.max(rule.pollfail);
        self.billed |= rule.billed;
        self.html |= rule.html;
        self.nowebhook |= rule.nowebhook;
        self
    }
}

/// Splits `a=b c="d e"` into its pairs; a key alone means 1.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        if letter == '"' {
            quoted = !quoted;
        } else if letter.is_whitespace() && !quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (word.clone(), "1".to_owned()),
    };
    words.iter().filter(|word| !word.is_empty()).map(pair).collect()
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is not a number in range"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{value}` is neither 1 nor 0")),
    }
}

fn cut(value: &str) -> Result<Cut, String> {
    match value {
        "before" => Ok(Cut::Before),
        "after" => Ok(Cut::After),
        _ => Err(format!("`{value}` is neither before nor after")),
    }
}

/// Holds the rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    provider: Option<Provider>,
    /// None: until it is deleted.
    left: Option<u32>,
    directives: Directives,
}

impl Rules {
    /// Adds a rule after those in force.
    ///
    /// # Errors
    /// What is wrong with the rule, for the caller to show.
    pub(super) fn add(&mut self, rule: &FaultRule) -> Result<(), String> {
        let provider = match rule.provider.as_str() {
            "" => None,
            name => Some(Provider::named(name).ok_or_else(|| format!("provider `{name}` is not known"))?),
        };
        let mut directives = Directives::from_rule(rule)?;
        // The rule counts its own uses, so a throttle in it must hold each time and not per prompt.
        directives.throttle = directives.throttle.map(|_| u32::MAX);
        self.rules.push(Rule { provider, left: (rule.times > 0).then_some(rule.times), directives });
        Ok(())
    }

    /// Removes all rules.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Adds the oldest fitting rule to a prompt's directives and counts its use.
    pub(super) fn apply(&mut self, provider: Provider, own: Directives) -> Directives {
        let fits = |rule: &Rule| rule.provider.is_none_or(|p| p == provider);
        let Some(at) = self.rules.iter().position(fits) else { return own };
        let Some(rule) = self.rules.get_mut(at) else { return own };
        let all = own.or(&rule.directives);
        rule.left = rule.left.map(|left| left - 1);
        if rule.left == Some(0) {
            self.rules.remove(at);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_may_hold_several_directives_and_quoted_text() {
        let read =
            Directives::from_prompt("a cat [[sim drop=after fail=\"NSFW content\"]] runs [[sim throttle=2 truncate=always]]");
        assert_eq!(read.cut, Some(Cut::After));
        assert_eq!(read.fail.as_deref(), Some("NSFW content"));
        assert_eq!((read.throttle, read.truncate), (Some(2), u32::MAX));
        assert_eq!(Directives::from_prompt("plain [[sim nonsense=1]]"), Directives::default());
    }

    #[test]
    fn a_rule_ends_after_its_times_and_the_prompt_wins() {
        let mut rules = Rules::default();
        let directives = [("http".to_owned(), serde_json::json!(502))].into();
        rules.add(&FaultRule { provider: "flux".into(), times: 1, directives }).unwrap();
        assert_eq!(rules.apply(Provider::Kling, Directives::default()).http, None);
        let own = Directives { http: Some(500), ..Directives::default() };
        assert_eq!(rules.apply(Provider::Flux, own).http, Some(500));
        assert_eq!(rules.apply(Provider::Flux, Directives::default()).http, None);
    }
}
