//! Which names a pattern means (RFC 3501 6.3.8), and what is said of each.

use std::collections::{BTreeMap, HashMap};

use mailbox::{FolderRole, FolderState};

use crate::command::ListRequest;

/// Between the levels of a name.
pub(crate) const DELIMITER: char = '/';

/// A name of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) attributes: Vec<&'static str>,
    /// Its folder, where it is one.
    pub(crate) index: Option<usize>,
    /// Something below it is subscribed though it was not selected itself (RFC 5258 4).
    pub(crate) child_info: bool,
}

/// What a folder is called here: the inbox has one name whatever its row says.
pub(crate) fn name_of(folder: &FolderState) -> &str {
    if folder.role == FolderRole::Inbox { "INBOX" } else { &folder.name }
}

/// The folder of a name.
pub(crate) fn find<'a>(folders: &'a [FolderState], name: &str) -> Option<&'a FolderState> {
    if name.eq_ignore_ascii_case("inbox") {
        return folders.iter().find(|f| f.role == FolderRole::Inbox);
    }
    folders.iter().find(|f| f.role != FolderRole::Inbox && f.name == name)
}

/// The attribute of a role (RFC 6154 2).
pub(crate) fn special_use(role: FolderRole) -> Option<&'static str> {
    match role {
        FolderRole::Inbox | FolderRole::Own => None,
        FolderRole::Junk => Some("\\Junk"),
        FolderRole::Sent => Some("\\Sent"),
        FolderRole::Trash => Some("\\Trash"),
        FolderRole::Drafts => Some("\\Drafts"),
        FolderRole::Archive => Some("\\Archive"),
    }
}

/// The names that a request selects, by name; the inbox first.
pub(crate) fn select(
    request: &ListRequest,
    folders: &[FolderState],
    subscriptions: &HashMap<String, bool>,
) -> Vec<Listed> {
    let patterns: Vec<Vec<char>> =
        request.patterns.iter().filter_map(|pattern| whole_pattern(&request.reference, pattern)).collect();
    let names = names(folders, subscriptions);
    let is_subscribed = |name: &str| subscribed(subscriptions, name, names.get(name).is_some_and(|i| i.is_some()));
    let mut all: Vec<Listed> = Vec::new();
    for (name, index) in &names {
        if !patterns.iter().any(|pattern| matches(pattern, name)) {
            continue;
        }
        let below = format!("{name}{DELIMITER}");
        let children = || names.range(below.clone()..).take_while(|(n, _)| n.starts_with(&below));
        let folder = index.map(|i| &folders[i]);
        let is_used = folder.is_some_and(|f| special_use(f.role).is_some());
        let selected = (!request.subscribed || is_subscribed(name)) && (!request.special_use || is_used);
        let child_info = request.recursive && request.subscribed && children().any(|(n, _)| is_subscribed(n));
        // A name that is no folder is shown for what is below it, or because it is still subscribed.
        let is_shown = selected && (folder.is_some() || request.subscribed || children().next().is_some());
        if !is_shown && !child_info {
            continue;
        }
        let mut attributes = Vec::new();
        if folder.is_none() {
            attributes.extend(["\\NonExistent", "\\Noselect"]);
        }
        attributes.push(if children().any(|(_, i)| i.is_some()) { "\\HasChildren" } else { "\\HasNoChildren" });
        attributes.extend(folder.and_then(|f| special_use(f.role)));
        if request.return_subscribed && is_subscribed(name) {
            attributes.push("\\Subscribed");
        }
        all.push(Listed { name: name.clone(), attributes, index: *index, child_info });
    }
    all.sort_by_key(|listed| listed.name != "INBOX");
    all
}

/// LSUB (RFC 3501 6.3.9): subscribed names, and with `%` the parents of those that it leaves out.
pub(crate) fn subscribed_names(
    reference: &[u8],
    pattern: &[u8],
    folders: &[FolderState],
    subscriptions: &HashMap<String, bool>,
) -> Vec<Listed> {
    let Some(pattern) = whole_pattern(reference, pattern) else { return Vec::new() };
    let names = names(folders, subscriptions);
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for (name, index) in &names {
        if !subscribed(subscriptions, name, index.is_some()) {
            continue;
        }
        if matches(&pattern, name) {
            found.insert(name.clone(), true);
        } else if pattern.ends_with(&['%'])
            && let Some(parent) = parents(name).find(|parent| matches(&pattern, parent))
        {
            found.entry(parent.to_owned()).or_insert(false);
        }
    }
    let listed = |(name, itself): (String, bool)| Listed {
        attributes: if itself { Vec::new() } else { vec!["\\Noselect"] },
        name,
        ..Listed::default()
    };
    found.into_iter().map(listed).collect()
}

/// A pattern behind its reference; both travel as names do. `None` when one of them is no name.
fn whole_pattern(reference: &[u8], pattern: &[u8]) -> Option<Vec<char>> {
    let (reference, pattern) = (crate::utf7::decode(reference)?, crate::utf7::decode(pattern)?);
    Some(reference.chars().chain(pattern.chars()).collect())
}

fn subscribed(subscriptions: &HashMap<String, bool>, name: &str, is_folder: bool) -> bool {
    subscriptions.get(name).copied().unwrap_or(is_folder)
}

/// Every name there is: folders, names that are only subscribed, and their parents; with the folder's index.
fn names(folders: &[FolderState], subscriptions: &HashMap<String, bool>) -> BTreeMap<String, Option<usize>> {
    let mut names: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (index, folder) in folders.iter().enumerate() {
        names.insert(name_of(folder).to_owned(), Some(index));
    }
    for (name, _) in subscriptions.iter().filter(|(_, subscribed)| **subscribed) {
        names.entry(name.clone()).or_insert(None);
    }
    let implied: Vec<String> = names.keys().flat_map(|name| parents(name).map(str::to_owned)).collect();
    for parent in implied {
        names.entry(parent).or_insert(None);
    }
    names
}

/// The names above a name, the highest first.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(DELIMITER).map(|(at, _)| &name[..at]).filter(|parent| !parent.is_empty())
}

/// Whether a name matches: `*` is anything, `%` anything but the delimiter. The inbox in any case of letters.
fn matches(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let folded: Vec<char>;
    let is_inbox = name.iter().collect::<String>() == "INBOX";
    let pattern = if is_inbox {
        folded = pattern.iter().map(char::to_ascii_uppercase).collect();
        &folded
    } else {
        pattern
    };
    // reached[i]: the pattern so far matches the first i characters.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for wanted in pattern {
        match wanted {
            '*' | '%' => {
                for i in 1..=name.len() {
                    let may = *wanted == '*' || name[i - 1] != DELIMITER;
                    reached[i] = reached[i] || (reached[i - 1] && may);
                }
            }
            wanted => {
                for i in (1..=name.len()).rev() {
                    reached[i] = reached[i - 1] && name[i - 1] == *wanted;
                }
                reached[0] = false;
            }
        }
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FolderId;

    fn folder(name: &str, role: FolderRole) -> FolderState {
        FolderState { id: FolderId(1), name: name.into(), role, uid_next: 1, uid_validity: 1, modseq: 0, recent_uid: 1 }
    }

    fn folders() -> Vec<FolderState> {
        [("Inbox", FolderRole::Inbox), ("Sent", FolderRole::Sent), ("a/b/c", FolderRole::Own), ("a/b", FolderRole::Own)]
            .map(|(name, role)| folder(name, role))
            .to_vec()
    }

    fn selected(request: ListRequest, subscriptions: &[(&str, bool)]) -> Vec<String> {
        let said = subscriptions.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
        let show =
            |l: &Listed| format!("{} {}{}", l.name, l.attributes.join(" "), if l.child_info { " +" } else { "" });
        select(&request, &folders(), &said).iter().map(show).collect()
    }

    fn request(pattern: &str) -> ListRequest {
        ListRequest { patterns: vec![pattern.into()], ..ListRequest::default() }
    }

    #[test]
    fn patterns() {
        let all = ["INBOX \\HasNoChildren", "Sent \\HasNoChildren \\Sent", "a \\NonExistent \\Noselect \\HasChildren"];
        assert_eq!(selected(request("%"), &[]), all);
        assert_eq!(selected(request("*"), &[]).len(), 5);
        assert_eq!(selected(request("inbox"), &[]), all[..1]);
        assert_eq!(selected(request("a/%"), &[]), ["a/b \\HasChildren"]);
        assert_eq!(
            selected(ListRequest { reference: b"a/b/".to_vec(), ..request("%") }, &[]),
            ["a/b/c \\HasNoChildren"]
        );
        assert_eq!(selected(request("sent"), &[]), Vec::<String>::new());
        // A reference travels as names do.
        let below = ListRequest { reference: b"Entw&APw-rfe/".to_vec(), subscribed: true, ..request("%") };
        let found = selected(below, &[("Entw\u{fc}rfe/x", true)]);
        assert_eq!(found, ["Entw\u{fc}rfe/x \\NonExistent \\Noselect \\HasNoChildren"]);
        assert_eq!(selected(ListRequest { special_use: true, ..request("*") }, &[]), all[1..2]);
    }

    #[test]
    fn subscriptions() {
        let only = ListRequest { subscribed: true, return_subscribed: true, ..request("*") };
        let said = [("Sent", false), ("gone", true), ("a/b", false), ("INBOX", false)];
        assert_eq!(
            selected(only.clone(), &said),
            ["a/b/c \\HasNoChildren \\Subscribed", "gone \\NonExistent \\Noselect \\HasNoChildren \\Subscribed"]
        );
        let deep = ListRequest { recursive: true, patterns: vec![b"%".to_vec()], ..only };
        assert_eq!(selected(deep, &said)[0], "a \\NonExistent \\Noselect \\HasChildren +");
        let said = said.map(|(n, s)| (n.to_owned(), s)).into_iter().collect();
        let names = |p: &[u8]| -> Vec<String> {
            subscribed_names(b"", p, &folders(), &said)
                .iter()
                .map(|l| format!("{}{}", l.name, l.attributes.concat()))
                .collect()
        };
        assert_eq!(names(b"*"), ["a/b/c", "gone"]);
        assert_eq!(names(b"%"), ["a\\Noselect", "gone"]);
    }
}
