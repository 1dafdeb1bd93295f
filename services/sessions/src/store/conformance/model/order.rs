use std::collections::HashSet;

use super::Truth;
use super::reference::{Event, Model};

/// What the model may be after these lines, each of one writer, in any order that leads to the truth.
pub(super) fn orders(models: &[Model], lines: &[Vec<Event>], truth: &Truth) -> Vec<Model> {
    let mut found = HashSet::new();
    let mut ways: Vec<_> = models.iter().map(|model| (vec![0; lines.len()], model.clone())).collect();
    let mut tried: HashSet<_> = ways.iter().cloned().collect();
    while let Some((done, model)) = ways.pop() {
        if done.iter().zip(lines).all(|(done, line)| *done == line.len()) {
            if model.sessions == *truth {
                found.insert(model);
            }
            continue;
        }
        for (number, line) in lines.iter().enumerate() {
            let Some(next) = line.get(done[number]).and_then(|event| model.after(event)) else { continue };
            let mut done = done.clone();
            done[number] += 1;
            if tried.insert((done.clone(), next.clone())) {
                ways.push((done, next));
            }
        }
    }
    found.into_iter().collect()
}
