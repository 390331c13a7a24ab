//! Writing plans byte for byte as the other supervisors do, so that a home can go back to them.
use super::Plan;
use super::parse::ZERO_TIME;
use serde::Serialize;
use serde_json::Value;

/// A plan in the order of keys that Go's encoder gives it; what is empty is left out.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    time: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    info: &'a str,
}

impl<'a> Written<'a> {
    fn of(plan: &'a Plan) -> Written<'a> {
        Written { name: &plan.title, time: ZERO_TIME, height: plan.height, info: &plan.info }
    }
}

/// An entry of a batch: a plan, or what was there and could not be read as one.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Entry<'a> {
    /// A plan.
    Plan(#[serde(serialize_with = "written")] &'a Plan),
    /// Kept as it is.
    Other(&'a Value),
}

fn written<S: serde::Serializer>(plan: &&Plan, serializer: S) -> Result<S::Ok, S::Error> {
    Written::of(plan).serialize(serializer)
}

/// The bytes of a plan file or of an applied plan: one line without an end.
pub fn encode(plan: &Plan) -> Vec<u8> {
    // Texts and numbers only: nothing of it can fail to be JSON.
    escape(&serde_json::to_string(&Written::of(plan)).unwrap_or_default())
}

/// The bytes of a batch file: a list, indented by two.
pub fn encode_batch(plans: &[Plan]) -> Vec<u8> {
    encode_entries(&plans.iter().map(Entry::Plan).collect::<Vec<_>>())
}

pub(super) fn encode_entries(entries: &[Entry<'_>]) -> Vec<u8> {
    escape(&serde_json::to_string_pretty(entries).unwrap_or_default())
}

/// What Go escapes beyond JSON's own rules. None of these letters is outside of a text in JSON.
fn escape(json: &str) -> Vec<u8> {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Source;
    use common::id::ReleaseName;

    fn plan(title: &str, height: Option<u64>, info: &str) -> Plan {
        let name = ReleaseName::new("x").unwrap();
        Plan { title: title.to_owned(), name, height, info: info.to_owned(), source: Source::Schedule }
    }

    fn check(plan: &Plan, expected: &str) {
        assert_eq!(String::from_utf8(encode(plan)).unwrap(), expected);
    }

    #[test]
    fn a_plan_is_written_as_go_writes_it() {
        check(
            &plan("chain2", Some(49), ""),
            r#"{"name":"chain2","time":"0001-01-01T00:00:00Z","height":49}"#,
        );
        check(
            &plan("v2", Some(7), r#"{"binaries":{"any":"https://a/b?x=1&y=<2>"}}"#),
            r#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":7,"info":"{\"binaries\":{\"any\":\"https://a/b?x=1\u0026y=\u003c2\u003e\"}}"}"#,
        );
        check(
            &plan("a\u{2028}b\u{2029}", None, "\\ / \u{7f} é ✓ \t\r\n\u{1}\u{1f}"),
            "{\"name\":\"a\\u2028b\\u2029\",\"time\":\"0001-01-01T00:00:00Z\",\"info\":\"\\\\ / \u{7f} é ✓ \\t\\r\\n\\u0001\\u001f\"}",
        );
    }

    #[test]
    fn a_batch_is_indented() {
        let plans = [plan("a", Some(1), ""), plan("b", Some(2), "<")];
        let expected = "[\n  {\n    \"name\": \"a\",\n    \"time\": \"0001-01-01T00:00:00Z\",\n    \"height\": 1\n  },\n  \
                        {\n    \"name\": \"b\",\n    \"time\": \"0001-01-01T00:00:00Z\",\n    \"height\": 2,\n    \
                        \"info\": \"\\u003c\"\n  }\n]";
        assert_eq!(String::from_utf8(encode_batch(&plans)).unwrap(), expected);
        assert_eq!(encode_batch(&[]), b"[]");
    }
}
