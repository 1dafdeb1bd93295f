use std::fmt::Display;

/// Writes a number and what it counts: `1 request`, `2 requests`. For nouns that take an `s`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_singular_and_nothing_else() {
        let written = [0_u64, 1, 2, 11, 21].map(|number| counted(number, "virtual model"));
        let expected =
            ["0 virtual models", "1 virtual model", "2 virtual models", "11 virtual models", "21 virtual models"];
        assert_eq!(written, expected);
    }
}
