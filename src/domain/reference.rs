//! An input image that another generation makes. Until that one has ended, its place among the stored `inputImages` holds this
//! text instead of a URL; no client's text is ever read as one (intake refuses the scheme).

use std::{fmt, str::FromStr};

use crate::domain::id::GenerationId;

/// The scheme of the text.
const SCHEME: &str = "result:";

/// One output of a generation, as it is written in place of an image: `result:gen_…/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultReference {
    /// Who makes it.
    pub generation: GenerationId,
    /// Which of its outputs, from 0.
    pub index: u16,
}

impl fmt::Display for ResultReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.generation, self.index)
    }
}

/// A text that names no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reference of the form result:gen_…/0")]
pub struct NotAReference;

impl FromStr for ResultReference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let (generation, index) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(NotAReference)?;
        let plain = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| plain).ok_or(NotAReference)?;
        Ok(Self { generation: generation.parse().map_err(|_| NotAReference)?, index })
    }
}

#[cfg(test)]
mod tests {
    use super::{NotAReference, ResultReference};
    use crate::domain::id::GenerationId;

    #[test]
    fn a_reference_reads_back_and_nothing_else_is_one() {
        let reference = ResultReference { generation: GenerationId::fresh(), index: 3 };
        let text = reference.to_string();
        assert_eq!(text.parse(), Ok(reference));
        for wrong in ["", "result:", "https://a/b", &text[..40], &format!("{text}x"), &format!("x{text}")] {
            assert_eq!(wrong.parse::<ResultReference>(), Err(NotAReference), "{wrong}");
        }
        assert!(text.replace("/3", "/+3").parse::<ResultReference>().is_err());
    }
}
