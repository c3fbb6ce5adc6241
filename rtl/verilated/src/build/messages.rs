//! Verilator's messages as a compiler's: place first.

use std::fmt;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Ends the build.
    Error,
    /// Does not.
    Warning,
}

/// A message of Verilator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How bad.
    pub severity: Severity,
    /// `file:line:column`, where it has one.
    pub place: Option<String>,
    /// Verilator's code, as `WIDTH`.
    pub code: Option<String>,
    /// What it says.
    pub text: String,
    /// The lines below: the instance, the source with the place marked.
    pub detail: Vec<String>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })?;
        if let Some(code) = &self.code {
            write!(f, "[{code}]")?;
        }
        write!(f, ": {}", self.text)?;
        self.detail.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// Reads what Verilator wrote to standard error. Lines before the first message (a crash, the wrapper script's own
/// troubles) become an error without a place.
pub fn parse(output: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for line in output.lines() {
        if let Some(message) = first_line(line) {
            // "Exiting due to 2 error(s)" says nothing new after the errors themselves.
            if messages.is_empty() || !message.text.starts_with("Exiting due to") {
                messages.push(message);
            }
        } else if line.trim_start().starts_with("... ") || line.starts_with("- ") || line.trim().is_empty() {
            // Where the manual is, how to switch the message off, statistics.
        } else if let Some(last) = messages.last_mut() {
            // The name of the instance, below the text however far to the right that is.
            let note = line.trim_start().strip_prefix(": ... ");
            last.detail
                .push(note.map_or_else(|| line.to_owned(), |note| format!("      = {note}")));
        } else {
            let text = line.to_owned();
            let detail = Vec::new();
            messages.push(Message {
                severity: Severity::Error,
                place: None,
                code: None,
                text,
                detail,
            });
        }
    }
    messages
}

/// `%Error: a.sv:3:5: text`, `%Warning-WIDTH: a.sv:3:5: text`, `%Error: text`.
fn first_line(line: &str) -> Option<Message> {
    let rest = line.strip_prefix('%')?;
    let (head, rest) = rest.split_once(": ")?;
    let (word, code) = head
        .split_once('-')
        .map_or((head, None), |(w, c)| (w, Some(c.to_owned())));
    let severity = match word {
        "Error" => Severity::Error,
        "Warning" => Severity::Warning,
        _ => return None,
    };
    let (place, text) = match rest.split_once(": ") {
        Some((place, text)) if is_place(place) => (Some(place.to_owned()), text),
        _ => (None, rest),
    };
    Some(Message {
        severity,
        place,
        code,
        text: text.to_owned(),
        detail: Vec::new(),
    })
}

/// `file:line` or `file:line:column`.
fn is_place(text: &str) -> bool {
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    text.rsplit_once(':')
        .is_some_and(|(file, last)| !file.is_empty() && number(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Verilator 5.006's words.
    const OUTPUT: &str = "\
%Warning-WIDTH: sv/a.sv:4:14: Operator ASSIGNW expects 4 bits on the Assign RHS, but Assign RHS's VARREF 'b' generates 8 bits.
                            : ... In instance a
    4 |   assign q = b;
      |            ^
                ... For warning description see https://verilator.org/warn/WIDTH?v=5.006
                ... Use \"/* verilator lint_off WIDTH */\" and lint_on around source to disable this message.
%Error: sv/a.sv:7:3: syntax error, unexpected endmodule
    7 |   endmodule
      |   ^~~~~~~~~
%Error: Exiting due to 1 error(s)
";

    #[test]
    fn messages_have_place_code_and_source_but_no_padding() {
        let messages = parse(OUTPUT);

        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].severity, Severity::Warning);
        assert_eq!(messages[0].place.as_deref(), Some("sv/a.sv:4:14"));
        assert_eq!(messages[0].code.as_deref(), Some("WIDTH"));
        assert_eq!(messages[0].detail[0], "      = In instance a");
        assert_eq!(
            messages[0].detail[1..],
            ["    4 |   assign q = b;", "      |            ^"]
        );
        assert_eq!(
            messages[1].to_string(),
            "sv/a.sv:7:3: error: syntax error, unexpected endmodule\n    7 |   endmodule\n      |   ^~~~~~~~~"
        );
    }

    #[test]
    fn an_error_without_a_place_keeps_its_colons() {
        let messages = parse("%Error: Parameters from the command line were not found in the design: M\n");

        assert_eq!(messages[0].place, None);
        assert_eq!(
            messages[0].to_string(),
            "error: Parameters from the command line were not found in the design: M"
        );
    }

    #[test]
    fn what_is_no_message_is_not_lost() {
        let messages = parse("Can't locate Pod/Usage.pm in @INC\n");

        assert_eq!(
            messages[0].to_string(),
            "error: Can't locate Pod/Usage.pm in @INC"
        );
    }

    proptest! {
        #[test]
        fn no_line_of_an_unknown_tool_is_lost(line in "[a-zA-Z%][a-zA-Z:% ]{0,20}[a-z]") {
            prop_assume!(!line.starts_with("%Error: ") && !line.starts_with("%Warning: "));
            let shown = parse(&line).iter().map(Message::to_string).collect::<String>();
            prop_assert!(shown.contains(&line));
        }
    }
}
