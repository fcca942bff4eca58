//! The table of results: what was measured, what it is compared to, and whether the aim is met.

/// Something that was measured: what, and how many nanoseconds (None if it was left out).
pub(crate) type Measured = (&'static str, Option<f64>);

/// What the project wants of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    /// At most so many times what it is compared to.
    Ratio(f64),
    /// At most so long.
    Nanoseconds(f64),
    /// Nothing: the comparison is worth knowing.
    None,
}

/// One line of the table.
pub(crate) struct Row {
    figure: Measured,
    compared_to: Measured,
    aim: Aim,
}

impl Row {
    /// A figure, what it is compared to, and what is wanted of it.
    pub(crate) fn new(figure: Measured, compared_to: Measured, aim: Aim) -> Self {
        Self { figure, compared_to, aim }
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.figure.1? / self.compared_to.1?)
    }

    fn verdict(&self) -> &'static str {
        let met = match self.aim {
            Aim::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Aim::Nanoseconds(most) => self.figure.1.map(|figure| figure <= most),
            Aim::None => None,
        };
        match met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.figure.0.to_owned(),
            self.figure.1.map_or_else(missing, duration),
            self.compared_to.0.to_owned(),
            self.compared_to.1.map_or_else(missing, duration),
            self.ratio().map_or_else(missing, times),
            match self.aim {
                Aim::Ratio(most) => times(most),
                Aim::Nanoseconds(most) => duration(most),
                Aim::None => missing(),
            },
            self.verdict().to_owned(),
        ]
    }
}

/// The whole table, with a heading.
pub(crate) fn render(rows: &[Row]) -> String {
    let heading = ["measured", "figure", "compared to", "figure", "ratio", "aim", ""].map(str::to_owned);
    let lines: Vec<[String; 7]> = std::iter::once(heading).chain(rows.iter().map(Row::cells)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = lines.iter().map(|other| other[column].len()).max().unwrap_or_default();
                // Words to the left, numbers to the right.
                if matches!(column, 0 | 2 | 6) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn missing() -> String {
    "-".to_owned()
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_aim_is_met() {
        let verdict = |figure, aim| Row::new(("a", figure), ("b", Some(10.0)), aim).verdict();
        assert_eq!(verdict(Some(12.0), Aim::Ratio(1.25)), "met");
        assert_eq!(verdict(Some(13.0), Aim::Ratio(1.25)), "NOT MET");
        assert_eq!(verdict(Some(13.0), Aim::Nanoseconds(13.0)), "met");
        assert_eq!(verdict(None, Aim::Ratio(1.25)), "");
        assert_eq!(verdict(Some(13.0), Aim::None), "");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            Row::new(("a call", Some(4_900.0)), ("a bare one", Some(4_000.0)), Aim::Ratio(1.25)),
            Row::new(("start-up", Some(19e6)), ("nothing", None), Aim::Nanoseconds(20e6)),
        ];
        let expected = "\
measured   figure  compared to  figure  ratio      aim
a call     4.9 us  a bare one   4.0 us  1.23x    1.25x  met
start-up  19.0 ms  nothing           -      -  20.0 ms  met
";
        assert_eq!(render(&rows), expected);
    }
}
