//! What the models that serve do, as transports and chains see it: names, tasks, languages, pairs of languages.

use std::collections::{BTreeMap, BTreeSet};

use linnet_proto::language::means;
use linnet_proto::{ErrorCode, WireError};

/// Pairs that a refusal lists at most.
const MOST_PAIRS: usize = 24;

/// One model that serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// What it does.
    pub tasks: Vec<String>,
    /// Its languages.
    pub languages: Vec<String>,
    /// From which language to which it translates; when empty from each of `languages` to each other.
    pub pairs: Vec<(String, String)>,
}

impl Offer {
    /// Whether it does `task`.
    pub fn does(&self, task: &str) -> bool {
        self.tasks.iter().any(|t| t == task)
    }

    /// Its own tags of the pair, when it translates so.
    fn pair(&self, source: &str, target: &str) -> Option<(&str, &str)> {
        let found = |wanted: &str| {
            let exact = self.languages.iter().find(|l| l.eq_ignore_ascii_case(wanted));
            exact.or_else(|| self.languages.iter().find(|l| means(wanted, l))).map(String::as_str)
        };
        if self.pairs.is_empty() {
            return Some((found(source)?, found(target)?)).filter(|(source, target)| source != target);
        }
        let pair = self.pairs.iter().find(|(s, t)| means(source, s) && means(target, t));
        pair.map(|(source, target)| (source.as_str(), target.as_str()))
    }

    /// Every pair that it translates.
    fn all_pairs(&self) -> Vec<(&str, &str)> {
        if !self.pairs.is_empty() {
            return self.pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect();
        }
        let of = |source: &'_ String| {
            let source = source.clone();
            self.languages.iter().filter(move |target| **target != source)
        };
        self.languages
            .iter()
            .flat_map(|source| of(source).map(move |target| (source.as_str(), target.as_str())))
            .collect()
    }
}

/// One step of a translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// By which model.
    pub model: String,
    /// From which language, by the model's own tag.
    pub source: String,
    /// To which.
    pub target: String,
}

/// Every model that serves, and which one is meant where a request names none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// The models, in the catalog's order.
    pub models: Vec<Offer>,
    /// The model of requests that name none, by task.
    pub defaults: BTreeMap<String, String>,
    /// Names that the configuration gives to models.
    pub aliases: BTreeMap<String, String>,
}

impl Offers {
    /// The model called `name`.
    pub fn named(&self, name: &str) -> Option<&Offer> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        self.models.iter().find(|m| m.name == name || m.aliases.iter().any(|a| a == name))
    }

    /// Whether any model does `task`.
    pub fn does(&self, task: &str) -> bool {
        self.models.iter().any(|m| m.does(task))
    }

    /// The model for `task`: the one called `name`, else the default, else the first that puts the task first, else the first
    /// that does it at all. `None` also where the one that is named does not do it.
    pub fn pick(&self, task: &str, name: Option<&str>) -> Option<&Offer> {
        if let Some(name) = name {
            return self.named(name).filter(|m| m.does(task));
        }
        let default = self.defaults.get(task).and_then(|name| self.named(name)).filter(|m| m.does(task));
        let first = || self.models.iter().find(|m| m.tasks.first().is_some_and(|t| t == task));
        default.or_else(first).or_else(|| self.models.iter().find(|m| m.does(task)))
    }

    /// The speech model for `language`, where that is not the one that [`Offers::pick`] gives anyway.
    pub fn hears(&self, task: &str, language: &str) -> Option<&Offer> {
        let speaks = |m: &&Offer| m.languages.iter().any(|l| means(language, l));
        match self.pick(task, None) {
            Some(model) if speaks(&model) => Some(model),
            _ => self.models.iter().filter(|m| m.does(task)).find(speaks),
        }
    }

    /// The models that translate, the likelier choice first: the default, then those of few languages, which were made for them.
    fn translators(&self) -> Vec<&Offer> {
        let default = self.defaults.get("translate").and_then(|name| self.named(name));
        let mut models: Vec<_> = self.models.iter().filter(|m| m.does("translate")).collect();
        models.sort_by_key(|m| (default.is_none_or(|d| d.name != m.name), m.languages.len()));
        models
    }

    /// The way from one language to another: by one model, else over a third language by two. English is tried first.
    pub fn route(&self, source: &str, target: &str) -> Option<Vec<Hop>> {
        let models = self.translators();
        let hop = |source: &str, target: &str| {
            models.iter().find_map(|m| {
                let (source, target) = m.pair(source, target)?;
                Some(Hop { model: m.name.clone(), source: source.to_owned(), target: target.to_owned() })
            })
        };
        if let Some(direct) = hop(source, target) {
            return Some(vec![direct]);
        }
        let between: BTreeSet<&str> = models.iter().flat_map(|m| m.all_pairs()).map(|(_, target)| target).collect();
        let between = ["en"].into_iter().filter(|l| between.contains(l)).chain(between.iter().copied());
        between
            .filter(|l| !means(source, l) && !means(target, l))
            .find_map(|l| Some(vec![hop(source, l)?, hop(l, target)?]))
    }

    /// Every language that can be translated, with those that it can be translated to: over a third language, too.
    pub fn translations(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut direct: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (source, target) in self.models.iter().filter(|m| m.does("translate")).flat_map(Offer::all_pairs) {
            direct.entry(source).or_default().insert(target);
        }
        let reach = |source: &str, targets: &BTreeSet<&str>| {
            let further = targets.iter().filter_map(|between| direct.get(between)).flatten();
            let all = targets.iter().chain(further).chain([&source]).map(|&l| l.to_owned());
            (source.to_owned(), all.collect())
        };
        direct.iter().map(|(source, targets)| reach(source, targets)).collect()
    }

    /// The refusal of a pair that no model translates; it says what there is.
    pub fn no_route(&self, source: &str, target: &str) -> WireError {
        let pairs: BTreeSet<_> =
            self.models.iter().filter(|m| m.does("translate")).flat_map(Offer::all_pairs).collect();
        // A model may have ten thousand pairs: those of the asked languages say most.
        let of_asked = |pair: &&(&str, &str)| means(source, pair.0) || means(target, pair.1);
        let in_order = pairs.iter().filter(of_asked).chain(pairs.iter().filter(|pair| !of_asked(pair)));
        let shown: Vec<_> = in_order.take(MOST_PAIRS).map(|(s, t)| format!("{s} to {t}")).collect();
        let there = match pairs.len() {
            0 => "no model here translates".to_owned(),
            n if n > MOST_PAIRS => {
                format!("there is: {} and {} more; GET /languages lists all", shown.join(", "), n - MOST_PAIRS)
            }
            _ => format!("there is: {}", shown.join(", ")),
        };
        let cut = |tag: &str| tag.chars().take(16).collect::<String>();
        let message = format!("nothing here translates {} to {}; {there}", cut(source), cut(target));
        WireError::new(ErrorCode::UnsupportedTask, message).with_param("target")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, tasks, pairs and languages.
    type Described<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

    fn offers(models: &[Described<'_>]) -> Offers {
        let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect();
        let model = |(name, tasks, pairs, languages): &Described<'_>| Offer {
            name: (*name).to_owned(),
            aliases: Vec::new(),
            tasks: owned(tasks),
            languages: owned(languages),
            pairs: pairs.iter().map(|(s, t)| ((*s).to_owned(), (*t).to_owned())).collect(),
        };
        Offers { models: models.iter().map(model).collect(), ..Offers::default() }
    }

    fn names(route: Option<Vec<Hop>>) -> Vec<(String, String, String)> {
        route.unwrap_or_default().into_iter().map(|h| (h.model, h.source, h.target)).collect()
    }

    fn hop(model: &str, source: &str, target: &str) -> (String, String, String) {
        (model.to_owned(), source.to_owned(), target.to_owned())
    }

    #[test]
    fn a_pair_without_a_model_goes_over_a_third_language() {
        let few = offers(&[
            ("de-en", &["translate"], &[("de", "en")], &["de", "en"]),
            ("en-fr", &["translate"], &[("en", "fr")], &["en", "fr"]),
            ("stt", &["transcribe"], &[], &["en"]),
        ]);
        assert_eq!(names(few.route("de-AT", "en")), [hop("de-en", "de", "en")]);
        assert_eq!(names(few.route("de", "fr")), [hop("de-en", "de", "en"), hop("en-fr", "en", "fr")]);
        assert_eq!(few.route("fr", "de"), None);
        let reached = few.translations();
        assert_eq!(reached["de"], BTreeSet::from(["de", "en", "fr"].map(str::to_owned)));
        assert!(!reached.contains_key("fr"));
        assert!(few.no_route("fr", "de").message.ends_with("there is: de to en, en to fr"));
        assert!(few.no_route("en", "ja").message.ends_with("there is: en to fr, de to en"), "of English first");
    }

    #[test]
    fn a_model_of_two_languages_goes_before_one_of_a_hundred_unless_that_is_the_default() {
        let mut both = offers(&[
            ("many", &["translate"], &[], &["de", "en", "fr"]),
            ("two", &["translate"], &[("de", "en")], &["de", "en"]),
        ]);
        assert_eq!(names(both.route("de", "en")), [hop("two", "de", "en")]);
        assert_eq!(names(both.route("en", "fr")), [hop("many", "en", "fr")]);
        both.defaults.insert("translate".to_owned(), "many".to_owned());
        assert_eq!(names(both.route("de", "en")), [hop("many", "de", "en")]);
    }

    #[test]
    fn a_task_is_done_by_the_default_then_by_who_puts_it_first() {
        let mut offers = offers(&[
            ("mt", &["translate", "generate"], &[], &["en"]),
            ("lm", &["generate", "chat"], &[], &["en"]),
            ("stt-en", &["transcribe"], &[], &["en"]),
            ("stt-de", &["transcribe"], &[], &["de"]),
        ]);
        assert_eq!(offers.pick("generate", None).map(|m| m.name.as_str()), Some("lm"));
        assert_eq!(offers.pick("generate", Some("mt")).map(|m| m.name.as_str()), Some("mt"));
        assert_eq!(offers.pick("chat", Some("mt")), None);
        assert_eq!(offers.hears("transcribe", "de").map(|m| m.name.as_str()), Some("stt-de"));
        assert_eq!(offers.hears("transcribe", "en").map(|m| m.name.as_str()), Some("stt-en"));
        offers.defaults.insert("generate".to_owned(), "gpt".to_owned());
        offers.aliases.insert("gpt".to_owned(), "mt".to_owned());
        assert_eq!(offers.pick("generate", None).map(|m| m.name.as_str()), Some("mt"));
    }
}
