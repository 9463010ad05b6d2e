//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate with the fewest edits (insert, delete, replace, swap of neighbours) from `word`, if that is few enough
/// to be a slip of the keyboard: at most a third of the word, at least two. Else the only one that goes on where `word`
/// ends: `deadline` stands for `deadline_us`.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    slip(word, candidates).or_else(|| {
        let mut longer = candidates.iter().filter(|candidate| word.len() >= 4 && candidate.starts_with(word));
        longer.next().filter(|_| longer.next().is_none()).copied()
    })
}

fn slip<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(2);
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        // A word of two letters is two edits from any other: at least half of the letters must be right.
        .filter(|(edits, candidate)| *edits <= allowed && *edits * 2 <= candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// Optimal string alignment distance (Levenshtein with swaps of neighbours), by dynamic programming over three rows.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_known_pairs() {
        for (a, b, edits) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("bursts", "burst", 1), ("brust", "burst", 1), ("abc", "abc", 0)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn far_words_are_not_suggested() {
        assert_eq!(nearest("capcity", &["capacity", "burst"]), Some("capacity"));
        assert_eq!(nearest("id", &["up"]), None);
        assert_eq!(nearest("colour_of_the_sky", &["color"]), None);
        assert_eq!(nearest("deadline", &["deadline_us", "drop"]), Some("deadline_us"));
        assert_eq!(nearest("restart", &["restart_limit", "restart_window_s"]), None, "not told apart");
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(one_of(&["a"]), "\"a\"");
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
