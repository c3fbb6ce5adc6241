//! Ports, read from the header that Verilator generates.

use std::fmt::Write as _;

/// Which way a port goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the design.
    Input,
    /// Out of the design.
    Output,
}

/// A port of the top module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Which way.
    pub direction: Direction,
    /// As in the Verilog.
    pub name: String,
    /// As in the generated C++.
    pub cxx_name: String,
    /// In bits, at least 1.
    pub width: u32,
}

/// A port that has no Rust type here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// `inout`.
    #[error("port `{0}` is an inout; split it into an input, an output and an enable")]
    Inout(String),
    /// An unpacked array, a real, a string, ...
    #[error(
        "port `{0}` has a type that is not a packed vector; make it one (an unpacked array: a packed one)"
    )]
    NotPacked(String),
    /// A declaration that is in no format known.
    #[error("port declaration `{0}` in the generated header is not understood")]
    Unknown(String),
}

impl Port {
    /// Of how many `u32` a port of more than 64 bits consists.
    pub fn words(&self) -> u32 {
        self.width.div_ceil(32)
    }

    /// The bits of the (last) word that belong to the port; None when all do.
    pub fn mask(&self) -> Option<u64> {
        let storage = match self.width {
            0..=8 => 8,
            9..=16 => 16,
            17..=32 => 32,
            33..=64 => 64,
            _ => 32,
        };
        let used = if self.width > 64 {
            (self.width - 1) % 32 + 1
        } else {
            self.width
        };
        (used < storage).then(|| (1 << used) - 1)
    }
}

/// The ports in a generated header's text, in its order.
pub fn parse(header: &str) -> Result<Vec<Port>, PortError> {
    let after = header.split_once("// PORTS").map_or("", |(_, rest)| rest);
    let section = after.split_once("// CELLS").map_or(after, |(section, _)| section);
    section
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(declaration)
        .collect()
}

/// `VL_IN8(&name,msb,lsb);`, `VL_OUTW(&name,msb,lsb,words);`; an array is `VL_IN8((&name)[2],7,0);` in 5.006 and
/// `VlUnpacked<CData/*7:0*/, 2> &name;` later.
fn declaration(line: &str) -> Result<Port, PortError> {
    let unknown = || PortError::Unknown(line.to_owned());
    let Some(rest) = line.strip_prefix("VL_") else {
        let (_, name) = line.trim_end_matches(';').rsplit_once('&').ok_or_else(unknown)?;
        return Err(PortError::NotPacked(verilog_name(name.trim())));
    };
    let (kind, arguments) = rest
        .strip_suffix(");")
        .and_then(|r| r.split_once('('))
        .ok_or_else(unknown)?;
    if let Some(array) = arguments.strip_prefix("(&") {
        let name = array.split(')').next().unwrap_or(array);
        return Err(PortError::NotPacked(verilog_name(name)));
    }
    let mut fields = arguments.split(',').map(str::trim);
    let cxx_name = fields
        .next()
        .and_then(|n| n.strip_prefix('&'))
        .ok_or_else(unknown)?;
    let name = verilog_name(cxx_name);
    let mut bound = || fields.next().and_then(|n| n.parse::<i64>().ok());
    let (msb, lsb) = bound().zip(bound()).ok_or_else(unknown)?;
    let width = u32::try_from((msb - lsb).abs() + 1).map_err(|_| unknown())?;
    let direction = match kind.trim_end_matches(|c: char| c.is_ascii_digit() || c == 'W') {
        "IN" => Direction::Input,
        "OUT" => Direction::Output,
        "INOUT" => return Err(PortError::Inout(name)),
        _ => return Err(unknown()),
    };
    Ok(Port {
        direction,
        name,
        cxx_name: cxx_name.to_owned(),
        width,
    })
}

/// Undoes Verilator's encoding: `__` and what C++ has no letter for is `__0` and two hexadecimal digits, a C++ keyword
/// has `__SYM__` before it.
fn verilog_name(cxx: &str) -> String {
    let mut name = String::new();
    let mut rest = cxx.strip_prefix("__SYM__").unwrap_or(cxx);
    while let Some(at) = rest.find("__0") {
        let code = rest
            .get(at + 3..at + 5)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let Some(code) = code else { break };
        name.push_str(&rest[..at]);
        name.push(char::from(code));
        rest = &rest[at + 5..];
    }
    name.push_str(rest);
    name
}

/// A line for each port, to compare two builds' ports.
pub fn describe(ports: &[Port]) -> String {
    ports.iter().fold(String::new(), |mut text, port| {
        let way = if port.direction == Direction::Input {
            "input"
        } else {
            "output"
        };
        let _ = writeln!(text, "{way} {} {}", port.name, port.width);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(declarations: &str) -> String {
        format!(
            "class V {{\n    // PORTS\n    // The application\n    {declarations}\n\n    // CELLS\n VL_IN8(&no,0,0);"
        )
    }

    fn one(declaration: &str) -> Port {
        parse(&header(declaration)).unwrap().remove(0)
    }

    #[test]
    fn each_macro_gives_direction_and_width() {
        for (text, direction, width) in [
            ("VL_IN8(&p,0,0);", Direction::Input, 1),
            ("VL_IN16(&p,15,0);", Direction::Input, 16),
            ("VL_IN(&p,31,0);", Direction::Input, 32),
            ("VL_IN64(&p,63,0);", Direction::Input, 64),
            ("VL_INW(&p,255,0,8);", Direction::Input, 256),
            ("VL_OUT8(&p,6,0);", Direction::Output, 7),
            ("VL_OUT(&p,0,19);", Direction::Output, 20),
            ("VL_OUTW(&p,64,0,3);", Direction::Output, 65),
        ] {
            let port = one(text);
            assert_eq!((port.direction, port.width), (direction, width), "{text}");
        }
    }

    #[test]
    fn what_is_outside_the_port_section_is_not_a_port() {
        assert_eq!(parse(&header("VL_IN8(&a,0,0);")).unwrap().len(), 1);
    }

    #[test]
    fn inout_is_refused_by_name() {
        assert_eq!(
            parse(&header("VL_INOUT8(&bus,7,0);")),
            Err(PortError::Inout("bus".into()))
        );
    }

    #[test]
    fn arrays_and_reals_are_refused_by_name() {
        for text in [
            "VL_IN8((&un)[2],7,0);",
            "VlUnpacked<CData/*7:0*/, 2> &un;",
            "double &un;",
        ] {
            assert_eq!(
                parse(&header(text)),
                Err(PortError::NotPacked("un".into())),
                "{text}"
            );
        }
    }

    #[test]
    fn garbage_is_refused_with_the_line() {
        for text in ["VL_IN8(a,0,0);", "VL_IN8(&a,x,0);", "VL_WHAT(&a,0,0);", "int a;"] {
            assert_eq!(parse(&header(text)), Err(PortError::Unknown(text.into())));
        }
    }

    #[test]
    fn verilators_encoding_of_names_is_undone() {
        assert_eq!(one("VL_IN8(&a___05Fb,0,0);").name, "a__b");
        assert_eq!(one("VL_IN8(&__SYM__int,0,0);").name, "int");
        assert_eq!(one("VL_IN8(&a__0zb,0,0);").name, "a__0zb");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(VL_(IN|OUT|INOUT)[0-9W]*)?[(&a-z0-9,)_;\\[\\]-]{0,30}") {
            let _ = parse(&header(&text));
        }

        #[test]
        fn a_mask_has_as_many_bits_as_its_word_uses(width in 1u32..300) {
            let port = Port { direction: Direction::Input, name: "p".into(), cxx_name: "p".into(), width };
            let last = if width > 64 { width - 32 * (port.words() - 1) } else { width };
            if let Some(mask) = port.mask() {
                prop_assert_eq!(mask.count_ones(), last);
                prop_assert_eq!(mask.trailing_ones(), last);
            } else {
                prop_assert!(matches!(last, 8 | 16 | 32 | 64));
            }
        }
    }
}
