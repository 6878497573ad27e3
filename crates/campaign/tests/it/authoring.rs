//! Writing campaigns: what is refused says field, line and what to do, and nothing is stored of it.

use campaign::{CampaignError, ContentType, Draft, LintCode, Problem, State, Tracking};
use model::CampaignId;

use crate::ground::{ground, person};

fn problems(error: CampaignError) -> Vec<Problem> {
    match error {
        CampaignError::Invalid(problems) => problems,
        other => panic!("expected problems, found {other}"),
    }
}

type Change = fn(&mut Draft);

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_stored() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 1).await;
        let cases: &[(Change, &str, Option<usize>, &str)] = &[
            (|d| d.name = " ".into(), "name", None, "must not be empty"),
            (|d| d.subject = "Hi\r\nBcc: everyone@x.example".into(), "subject", None, "one line"),
            (|d| d.subject = "x".repeat(401), "subject", None, "401 characters"),
            (|d| d.from_name = "News\nX-A: b".into(), "from_name", None, "one line"),
            (|d| d.from_address = "news".into(), "from_address", None, "an @"),
            (|d| d.from_address = "news@contoso.example\r\nX: y".into(), "from_address", None, "domain"),
            (|d| d.subject = "Hello {{ nickname }}".into(), "subject", Some(1), "the fields are first_name, last_name"),
            (|d| d.subject = "Hello {{ first_name".into(), "subject", Some(1), "merge field cannot be read"),
            (|d| d.content = d.content.replace("department", "departement"), "content", Some(5), "\"departement\""),
            (|d| d.content = d.content.replace("</mj-column>", ""), "content", Some(11), "<mj-column> of line 4"),
            (|d| d.content = "<p>no mjml</p>".into(), "content", Some(1), "MJML"),
            (|d| d.content = "<mjml><mj-body>".into(), "content", Some(1), "<mj-body> is never closed"),
            (|d| d.content = d.content.replace("mj-button", "mj-knob"), "content", Some(6), "mj-knob"),
            (|d| d.content = "{{ landfall_pixel }}".into(), "content", Some(1), "our own"),
            (|d| d.content = "x".repeat(1024 * 1024 + 1), "content", None, "larger than"),
            (|d| d.list_id = Some(7.into()), "list_id", None, "no such list"),
            (|d| d.tracking = Tracking::Individual, "tracking", None, "the owner switches it on"),
        ];
        for (change, field, line, says) in cases {
            let mut draft = g.draft();
            change(&mut draft);
            let found = problems(g.campaigns.create(&draft, None).await.unwrap_err());
            let named = found.iter().any(|p| p.field == *field && p.line == *line && p.message.contains(says));
            assert!(named, "{}: wanted {field} line {line:?} {says:?}, found {found:?}", g.name);
        }
        assert!(g.campaigns.list(None, 10).await.unwrap().is_empty(), "nothing was stored");
    })
    .await;
}

#[tokio::test]
async fn drafts_are_changed_copied_and_listed() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 1).await;
        let first = g.campaigns.create(&g.draft(), None).await.unwrap();
        assert_eq!((first.state, &first.draft), (State::Draft, &g.draft()));
        let mut draft = g.draft();
        draft.subject = "Other".into();
        assert_eq!(g.campaigns.update(first.id, &draft).await.unwrap().draft.subject, "Other");
        let second = g.campaigns.duplicate(first.id, None).await.unwrap();
        assert_eq!((second.draft.name.as_str(), second.draft.subject.as_str()), ("March (copy)", "Other"));
        let page = g.campaigns.list(None, 1).await.unwrap();
        assert_eq!(page.iter().map(|c| c.id).collect::<Vec<_>>(), [second.id]);
        let page = g.campaigns.list(Some(second.id), 10).await.unwrap();
        assert_eq!(page.iter().map(|c| c.id).collect::<Vec<_>>(), [first.id]);
        let missing = g.campaigns.get(CampaignId(5)).await.unwrap_err();
        assert!(matches!(missing, CampaignError::NotFound(CampaignId(5))));
    })
    .await;
}

#[tokio::test]
async fn a_preview_is_what_that_person_gets() {
    let t = testkit::sqlite().await;
    let g = ground(&t, 0).await;
    let ids = g.add(&[person("ada@contoso.example", "Ada <b>Byron</b>", &[("shoe_size", "38")])]).await;
    let mut draft = g.draft();
    draft.content_type = ContentType::Html;
    draft.content = r#"<html><body><p>Dear {{ name }}, size {{ shoe_size }}, {{ city | default("somewhere") }}.</p>
        <a href="https://x.contoso.example/a">www.other.example</a>
        <img src="https://x.contoso.example/p.png"></body></html>"#
        .into();
    let preview = g.campaigns.preview(&draft, Some(ids[0])).await.unwrap();
    assert_eq!(preview.rendered.subject, "News for Ada");
    let escaped = "Dear Ada &lt;b&gt;Byron&lt;&#x2f;b&gt;, size 38, somewhere.";
    assert!(preview.rendered.html.contains(escaped), "{}", preview.rendered.html);
    assert!(
        preview.rendered.html.contains("href=\"https://x.contoso.example/a\""),
        "links lead where they were written to"
    );
    assert!(preview.rendered.text.contains("Dear Ada <b>Byron</b>, size 38"), "{}", preview.rendered.text);
    let mut codes: Vec<LintCode> = preview.lints.iter().map(|lint| lint.code).collect();
    codes.dedup();
    let expect = [LintCode::NoUnsubscribe, LintCode::NoAlt, LintCode::LinkTextHost, LintCode::NoDefault];
    assert_eq!(codes, expect, "{:?}", preview.lints);
    let good = g.campaigns.preview(&g.draft(), None).await.unwrap();
    assert_eq!(good.lints, [], "the example campaign has nothing to look at");
    assert_eq!(good.rendered.subject, "News for [first_name]");
}

#[tokio::test]
async fn people_without_a_value_are_named_before_anything_is_sent() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 0).await;
        let people: Vec<_> = (0..14)
            .map(|i| {
                let size = [("shoe_size", "38")];
                person(&format!("p{i}@contoso.example"), "Pia Berg", if i < 2 { &size } else { &[] })
            })
            .collect();
        g.add(&people).await;
        let mut draft = g.draft();
        draft.content = draft.content.replace("Hello", "Size {{ shoe_size }}. Hello");
        let campaign = g.campaigns.create(&draft, None).await.unwrap();
        let found = problems(g.campaigns.start(campaign.id).await.unwrap_err());
        assert_eq!(found.len(), 11, "{found:?}");
        assert!(found[0].message.contains("p2@contoso.example: no value for shoe_size and no default"), "{}", found[0]);
        assert_eq!(found[10].message, "and 2 people more");
        assert_eq!(g.campaigns.get(campaign.id).await.unwrap().state, State::Draft);
        assert!(g.campaigns.audience(campaign.id, 0, 10).await.unwrap().is_empty(), "nothing was frozen");
        draft.content = draft.content.replace("{{ shoe_size }}", "{{ shoe_size | default('?') }}");
        g.campaigns.update(campaign.id, &draft).await.unwrap();
        assert_eq!(g.campaigns.start(campaign.id).await.unwrap().audience_count, 14);
    })
    .await;
}

#[tokio::test]
async fn a_start_needs_people_a_key_and_an_address_for_links() {
    testkit::on_both(|t| async move {
        let g = ground(&t, 2).await;
        let refused = async |draft: &Draft| {
            let id = g.campaigns.create(draft, None).await.unwrap().id;
            let found = problems(g.campaigns.start(id).await.unwrap_err());
            assert_eq!(g.campaigns.get(id).await.unwrap().state, State::Draft);
            found[0].to_string()
        };
        let foreign = Draft { from_address: "ceo@fabrikam.example".into(), ..g.draft() };
        assert!(refused(&foreign).await.starts_with("from_address: there is no DKIM key for fabrikam.example"));
        assert!(refused(&Draft { list_id: None, ..g.draft() }).await.starts_with("list_id: choose"));
        let empty = g.directory.put_list("Nobody").await.unwrap();
        assert!(refused(&Draft { list_id: Some(empty), ..g.draft() }).await.starts_with("list_id: nobody"));
        let mut settings = g.directory.settings().await.unwrap();
        settings.tracking.base_url = String::new();
        g.directory.save_settings(&settings).await.unwrap();
        assert!(refused(&g.draft()).await.starts_with("tracking: set the address"));
    })
    .await;
}
