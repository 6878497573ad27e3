//! The people of the demo: a CSV like one an HR system exports, the same for the same number of people.

use std::fmt::Write;

/// The organisation's domain.
pub const DOMAIN: &str = "contoso.example";
/// The password of the four logins.
pub const PASSWORD: &str = "delivered-is-not-landed";

/// The four logins: role, login, name.
pub const LOGINS: [(&str, &str, &str); 4] = [
    ("communicator", "carla.mendes@contoso.example", "Carla Mendes"),
    ("administrator", "adam.novak@contoso.example", "Adam Novak"),
    ("analyst", "aiko.tanaka@contoso.example", "Aiko Tanaka"),
    ("recipient", "rosa.lindqvist@contoso.example", "Rosa Lindqvist"),
];

const FIRST: [&str; 40] = [
    "Amara", "Bruno", "Chiara", "David", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Maja",
    "Nadia", "Oskar", "Priya", "Quentin", "Ravi", "Sofia", "Tomas", "Uma", "Viktor", "Wanda", "Xavier", "Yara", "Zoe",
    "Anton", "Bela", "Cem", "Dora", "Emil", "Fenna", "Gustav", "Hana", "Ivo", "Jana", "Karim", "Lotte", "Milan",
    "Nora",
];
const LAST: [&str; 40] = [
    "Adler",
    "Bianchi",
    "Costa",
    "Dahl",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Hansen",
    "Ivanov",
    "Jansen",
    "Kowalski",
    "Laurent",
    "Moreau",
    "Nilsen",
    "Okafor",
    "Petrov",
    "Quinn",
    "Rossi",
    "Santos",
    "Takahashi",
    "Ueda",
    "Varga",
    "Weber",
    "Xu",
    "Yilmaz",
    "Zimmer",
    "Andersen",
    "Bakker",
    "Cohen",
    "Dubois",
    "Evans",
    "Ferreira",
    "Gruber",
    "Horvat",
    "Ito",
    "Jovanovic",
    "Kaya",
    "Lopez",
    "Meyer",
    "Novotny",
];
const DEPARTMENTS: [&str; 8] =
    ["Operations", "Sales", "Finance", "People", "Engineering", "Support", "Legal", "Marketing"];
const CITIES: [(&str, &str); 6] =
    [("Leeds", "en"), ("Lyon", "fr"), ("Porto", "pt"), ("Leipzig", "de"), ("Toronto", "en"), ("Osaka", "ja")];

/// The CSV: header and `count` people, the four logins first.
pub fn csv(count: u32) -> String {
    let mut random = fastrand::Rng::with_seed(14_032_024);
    let mut out = String::from("address,name,first_name,department,city,language,employee_number\n");
    for n in 0..count {
        let (address, name) = match LOGINS.get(n as usize) {
            Some((_, login, name)) => ((*login).to_owned(), (*name).to_owned()),
            None => {
                let (first, last) = (FIRST[random.usize(..FIRST.len())], LAST[random.usize(..LAST.len())]);
                let address = format!("{}.{}{n}@{DOMAIN}", first.to_lowercase(), last.to_lowercase());
                (address, format!("{first} {last}"))
            }
        };
        let first = name.split(' ').next().unwrap_or_default();
        let department = DEPARTMENTS[random.usize(..DEPARTMENTS.len())];
        let (city, language) = CITIES[random.usize(..CITIES.len())];
        writeln!(out, "{address},{name},{first},{department},{city},{language},{}", 10_000 + n)
            .expect("writing to a String does not fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn everybody_has_an_address_of_their_own() {
        let csv = super::csv(1_000);
        let addresses: HashSet<&str> = csv.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
        assert_eq!(addresses.len(), 1_000);
        assert_eq!(csv, super::csv(1_000), "the same people every time");
    }
}
