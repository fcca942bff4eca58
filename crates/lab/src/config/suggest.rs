//! "Expected one of", "did you mean": helping someone who mistyped a name.

/// The message for a `name` that is none of `known`; `place` (`" in [xen]"`) may be empty.
pub(super) fn unknown(what: &str, name: &str, place: &str, known: &[&str]) -> String {
    let expected = one_of(known);
    let near = match nearest(name, known) {
        Some(near) if known.len() > 1 => format!("; did you mean `{near}`?"),
        _ => String::new(),
    };
    format!("unknown {what} `{}`{place}; expected {expected}{near}", clip(name))
}

/// `a`, `one of: a, b, c`.
pub(super) fn one_of(known: &[&str]) -> String {
    match known {
        [only] => format!("`{only}`"),
        _ => format!("one of: {}", known.join(", ")),
    }
}

/// The one of `known` that `name` was most likely meant to be, if any is near.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let name = simplify(name);
    let allowed = (name.len() / 3).max(1);
    let ranked = known.iter().map(|&candidate| (distance(&name, &simplify(candidate)), candidate));
    ranked
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

/// A user's own text, without control characters and cut to a length that fits in a message.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text.chars().take(LONGEST).collect::<String>().escape_debug().collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Case, hyphens and underscores are easily mixed up: they count for nothing.
fn simplify(name: &str) -> Vec<char> {
    let plain = name.chars().filter(|c| !matches!(c, '-' | '_'));
    // Longer than any key: no use comparing the rest.
    plain.flat_map(char::to_lowercase).take(64).collect()
}

/// Edit distance: insertions, deletions, replacements, and swaps of two neighbours.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut older = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(l != r);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && left[row - 1] == *r && *l == right[column - 1] {
                let two_above: &Vec<usize> = &older;
                best = best.min(two_above[column - 1] + 1);
            }
            current.push(best);
        }
        older = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}
