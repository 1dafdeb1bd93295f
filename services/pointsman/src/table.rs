//! Tables, as commands print them.

/// Draws rows under their titles, each column as wide as its widest cell.
pub(crate) fn draw<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(titles.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["änderung", "1"], ["b", "22"]].map(|row| row.map(str::to_owned));
        assert_eq!(draw(["A", "B"], rows.into_iter()), "A         B\nänderung  1\nb         22\n");
        assert_eq!(draw(["A", "B"], std::iter::empty()), "A  B\n");
    }
}
