//! Running the helper programs, and collecting what they print.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::process::{output, shown};
use crate::stage::Stage;

/// One command line whose figures are wanted.
pub(crate) struct Case {
    name: &'static str,
    command: Vec<String>,
}

impl Case {
    /// A case of this name (by which its figures are asked for) and this command.
    pub(crate) fn new(name: &'static str, command: &[&str]) -> Self {
        Self { name, command: owned(command).collect() }
    }

    /// The same with more arguments.
    pub(crate) fn then(mut self, arguments: &[&str]) -> Self {
        self.command.extend(owned(arguments));
        self
    }

    /// The same, run by another command.
    pub(crate) fn behind(mut self, command: &[&str]) -> Self {
        self.command.splice(0..0, owned(command));
        self
    }
}

fn owned<'a>(arguments: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    arguments.iter().map(|&argument| argument.to_owned())
}

/// What was measured, in nanoseconds: the medians over all rounds.
pub(crate) struct Figures(BTreeMap<(&'static str, String), f64>);

impl Figures {
    /// A figure that a case has printed; None if the case wasn't run.
    pub(crate) fn get(&self, case: &'static str, figure: &str) -> Option<f64> {
        self.0.get(&(case, figure.to_owned())).copied()
    }
}

/// Runs all cases in turn, `rounds` times over, every second time in the opposite order: a machine that gets faster or
/// slower meanwhile does so for all of them.
pub(crate) fn alternate(stage: &Stage, rounds: u32, cases: &[Case]) -> Result<Figures> {
    let mut samples: BTreeMap<(&'static str, String), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for index in 0..cases.len() {
            let case = &cases[if round % 2 == 0 { index } else { cases.len() - 1 - index }];
            for (figure, nanoseconds) in figures_of(stage, case)? {
                samples.entry((case.name, figure)).or_default().push(nanoseconds);
            }
        }
    }
    Ok(Figures(samples.into_iter().map(|(key, values)| (key, median(values))).collect()))
}

/// Runs a case once. A helper program prints a line `name nanoseconds` for each figure.
fn figures_of(stage: &Stage, case: &Case) -> Result<Vec<(String, f64)>> {
    let (program, arguments) = case.command.split_first().context("a case without a command")?;
    let mut command = stage.command(program);
    let text = output(command.args(arguments))?;
    let parse = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let figures: Option<Vec<_>> = text.lines().map(parse).collect();
    figures
        .filter(|figures| !figures.is_empty())
        .with_context(|| format!("`{}` printed no figures:\n{text}", shown(&command)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_does_not_count() {
        assert_eq!(median(vec![900.0, 2.0, 1.0]), 2.0);
        assert_eq!(median(vec![4.0, 2.0]), 3.0);
    }

    #[test]
    fn figures_are_found_by_case_and_name() {
        let stage = Stage::new().unwrap();
        let cases = [Case::new("a", &["echo", "x 5"]), Case::new("b", &["x 7"]).behind(&["echo"])];
        let figures = alternate(&stage, 2, &cases).unwrap();
        assert_eq!(
            (figures.get("a", "x"), figures.get("b", "x"), figures.get("c", "x")),
            (Some(5.0), Some(7.0), None)
        );
    }

    #[test]
    fn a_program_without_figures_is_an_error() {
        let stage = Stage::new().unwrap();
        assert!(alternate(&stage, 1, &[Case::new("a", &["true"])]).is_err());
    }
}
