//! What the models that serve do, for those who know nothing of models.

use std::sync::Arc;

use super::{Catalog, Served};
use crate::job::{Offer, Offers};

impl Catalog {
    /// What the models that serve do.
    pub fn offers(&self) -> Arc<Offers> {
        Arc::clone(self.offers.get_or_init(|| {
            let models: Vec<_> = self.served().map(|served| offer(served)).collect();
            let choices = &self.choices;
            let mut defaults = choices.defaults.clone();
            if let Some(default) = &choices.default_model {
                for task in models.iter().flat_map(|model| &model.tasks) {
                    defaults.entry(task.clone()).or_insert_with(|| default.clone());
                }
            }
            Arc::new(Offers { models, defaults, aliases: choices.aliases.clone() })
        }))
    }
}

fn offer(served: &Served) -> Offer {
    let manifest = &served.manifest;
    Offer {
        name: served.name.clone(),
        aliases: served.aliases.clone(),
        tasks: manifest.tasks.clone(),
        languages: manifest.languages.clone(),
        pairs: manifest.pairs.iter().filter_map(|pair| split(pair, &manifest.languages)).collect(),
    }
}

/// `en-de` as its two tags. Tags may have a `-` of their own, so both halves must be languages of the model where any halves are.
fn split(pair: &str, languages: &[String]) -> Option<(String, String)> {
    let halves = pair.match_indices('-').map(|(at, _)| (&pair[..at], &pair[at + 1..]));
    let known = |tag: &str| languages.iter().any(|language| language == tag);
    let found = halves.clone().find(|(source, target)| known(source) && known(target));
    let (source, target) = found.or_else(|| halves.clone().next())?;
    Some((source.to_owned(), target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_cut_where_both_halves_are_languages() {
        let languages = ["en", "zh-Hans"].map(str::to_owned);
        assert_eq!(split("zh-Hans-en", &languages), Some(("zh-Hans".to_owned(), "en".to_owned())));
        assert_eq!(split("de-fr", &[]), Some(("de".to_owned(), "fr".to_owned())));
        assert_eq!(split("de", &[]), None);
    }
}
