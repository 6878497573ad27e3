// On a server of the journey's own, with a real Dovecot: mailboxes that are kept elsewhere, settings with trusted sealers, judging
// switched off on the command line, app passwords.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ask, inspect, launch, shown, signIn, violations, visit, visitor } from "./browser.mjs";
import { DOMAIN, ownSite } from "./site.mjs";

const ADA = `ada@${DOMAIN}`;
const BOB = `bob@${DOMAIN}`;
const PASSWORD = "correct horse battery";
/** What the server does by itself, and what the page asks again by itself, has happened after this at the latest. */
const SOON_MS = 45_000;
/** Settings. */
const THRESHOLD = "An incident opens when so many copies are lost";
const DELAY = "and stay lost for (seconds)";
const PROBLEM = { type: "/problems/internal", title: "Something failed on the server", status: 500, detail: "The database did not answer. Nothing was changed.", reference: "ref-4711" };

let browser, site, owner, ada;

/** An unsafe request with the owner's session. */
async function send(method, path, data, type = "application/json") {
  const { csrf } = await ask(owner.page, "/me");
  const answer = await owner.page.request.fetch(`/api/v1${path}`, { method, data, headers: { "X-CSRF-Token": csrf, "Content-Type": type } });
  assert.ok(answer.ok(), `${path}: ${answer.status()} ${await answer.text()}`);
  return answer.status() === 204 ? null : answer.json();
}

async function personOf(address) {
  return (await ask(owner.page, `/people?query=${encodeURIComponent(address)}`)).items[0];
}

before(async () => {
  browser = await launch();
  site = await ownSite([ADA, BOB]);
  owner = await visitor(browser, site.url);
  await owner.page.goto(site.link);
  await owner.page.getByRole("navigation", { name: "Main" }).waitFor();
  const csv = `address,name,department,city\n${ADA},Ada Byron,Research,Bonn\n${BOB},Bob Boole,Research,York\ncarl@${DOMAIN},Carl Gauss,Sales,York\n`;
  await send("POST", "/people/import", csv, "text/csv");
  await send("POST", "/accounts", { login: ADA, name: "Ada Byron", role: "recipient", person_id: (await personOf(ADA)).id, password: PASSWORD });
  ada = await visitor(browser, site.url);
  await signIn(ada.page, { login: ADA, password: PASSWORD });
});
after(async () => {
  await browser?.close();
  await site?.end();
});

/** The page when the API answers 500, and its way back. */
async function fails(page, path, api, name, holds) {
  const route = `**/api/v1/${api}`;
  await page.route(route, (r) => r.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify(PROBLEM) }));
  await page.goto(path);
  const alert = page.getByRole("alert").filter({ hasText: PROBLEM.reference }).first();
  await alert.waitFor();
  assert.match(await alert.innerText(), /Nothing was changed/);
  await shown(page);
  await inspect(page, name);
  await page.unroute(route);
  await page.getByRole("main").getByRole("button", { name: "Try again" }).first().click();
  await page.locator(holds).first().waitFor();
}

describe("mailboxes that Dovecot keeps", () => {
  it("says that Dovecot does not answer, since when, and what waits; Ada is not shown an empty mailbox", async () => {
    await site.mail(ADA, "Patience");
    const { page, faults } = owner;
    await visit(page, "/settings?tab=connectors");
    const section = page.getByRole("region", { name: "dovecot" });
    await section.getByText("Does not answer").first().waitFor({ timeout: SOON_MS });
    await section.getByRole("link", { name: "1 copy" }).waitFor({ timeout: SOON_MS });
    assert.match(await section.innerText(), /since/);
    await section.getByRole("button", { name: "Look again" }).click();
    await page.getByText(/^It does not answer: .*1 copy waits for it\.$/).first().waitFor();
    await inspect(page, "connector-silent");
    await visit(page, "/");
    await page.getByText("1 mailbox system does not answer").waitFor();
    await inspect(page, "connector-home");
    assert.deepEqual(faults.splice(0), []);

    await visit(ada.page, "/mail");
    await ada.page.getByRole("heading", { name: "Your mail is kept by “dovecot”" }).waitFor();
    await ada.page.getByText("1 message for you waits to be handed over").waitFor();
    assert.equal(await ada.page.getByRole("navigation", { name: "Folders" }).count(), 0);
    await inspect(ada.page, "mail-elsewhere-silent");
  });

  it("hands over what waits when somebody looks again", async () => {
    await site.dovecot.start();
    const { page } = owner;
    await visit(page, "/settings?tab=connectors");
    const section = page.getByRole("region", { name: "dovecot" });
    await section.getByRole("button", { name: "Look again" }).click();
    await section.getByText("Answers", { exact: true }).nth(1).waitFor();
    await section.getByText("nothing", { exact: true }).waitFor({ timeout: SOON_MS });
    await inspect(page, "connector-answers");
    const [copy] = (await ask(page, `/trace?recipient=${ADA}`)).items;
    assert.deepEqual([copy.place, copy.last_event], ["inbox", "accepted"]);
    await visit(page, `/trace/${copy.copy_id}`);
    await page.getByRole("button", { name: "Look where it is now" }).click();
    await page.getByText("It is where the ledger says").first().waitFor();
    await inspect(page, "trace-elsewhere");
    await visit(ada.page, "/mail");
    await ada.page.getByRole("heading", { name: "Your mail is kept by “dovecot”" }).waitFor();
    assert.equal(await ada.page.getByText("waits to be handed over").count(), 0);
    await inspect(ada.page, "mail-elsewhere");
    assert.deepEqual(ada.faults.splice(0), []);
  });

  it("keeps one person's mailbox here from now on", async () => {
    const { page } = owner;
    const bob = await personOf(BOB);
    await visit(page, `/people/${bob.id}`);
    const panel = page.locator("aside.panel");
    await panel.getByText("kept by “dovecot”").waitFor();
    await inspect(page, "person-mailbox");
    await panel.getByRole("button", { name: "Keep it elsewhere" }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByLabel("From now on").selectOption("embedded");
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole("button", { name: "Save" }).click();
    await panel.getByText("here", { exact: true }).waitFor();
    assert.equal((await ask(page, `/people/${bob.id}`)).mailbox.kept_by, null);
  });

  it("fails and recovers", async () => {
    await fails(owner.page, "/settings?tab=connectors", "connectors", "failing-connectors", 'section[aria-label="dovecot"]');
    await fails(ada.page, "/mail", "mailbox", "failing-mail-elsewhere", "section.card");
  });
});

describe("lists of people without a file", () => {
  it("makes one of everybody who matches, and one of people who are picked", async () => {
    const { page, faults } = owner;
    await visit(page, "/people");
    await page.getByRole("button", { name: "New list" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name of the list").fill("Research");
    await dialog.getByLabel("Department").selectOption("Research");
    await dialog.getByText("2 people match now.", { exact: false }).waitFor();
    await inspect(page, "list-matching");
    await dialog.getByRole("button", { name: "Put 2 people on it" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByText("On the list “Research”").waitFor();
    await page.getByRole("row", { name: /Bob Boole/ }).waitFor();
    assert.equal(await page.getByRole("row", { name: /Carl Gauss/ }).count(), 0);
    await inspect(page, "list-members");

    await page.getByRole("button", { name: "New list" }).click();
    await dialog.getByLabel("Name of the list").fill("Research");
    await dialog.getByText("There is such a list with 2 people").waitFor();
    await dialog.getByLabel("People I pick").check();
    await dialog.getByLabel("Name or address begins with").fill("carl");
    await dialog.getByLabel(/^Carl Gauss/).check();
    await inspect(page, "list-picking");
    await dialog.getByRole("button", { name: "Put 1 person on it" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("row", { name: /Carl Gauss/ }).click();
    await page.getByRole("button", { name: "Take off the list" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Take off the list" }).click();
    await page.getByRole("row", { name: /Carl Gauss/ }).waitFor({ state: "detached" });
    assert.deepEqual(faults.splice(0), []);
  });
});

describe("allow and block", () => {
  it("adds an entry by a tested change, and takes it out by another", async () => {
    const { page, faults } = owner;
    await visit(page, "/allow-block");
    await page.getByText("No entry yet").waitFor();
    await inspect(page, "empty-allow-block");
    await page.getByRole("main").getByRole("button", { name: "Add an entry" }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Value").fill("not an address");
    await dialog.getByRole("button", { name: "Test it" }).click();
    const refused = dialog.getByRole("alert");
    await refused.waitFor();
    await inspect(page, "allow-block-refused");
    // What it speaks of is still there while other fields are filled in; it goes with the first letter of the one that is wrong.
    await dialog.getByLabel(/^Why/).fill("To see that the console can do it.");
    assert.equal(await refused.count(), 1);
    await dialog.getByLabel("Value").press("End");
    await dialog.getByLabel("Value").press("!");
    await refused.waitFor({ state: "detached" });
    await dialog.getByLabel("Value").press("Backspace");
    assert.equal(await refused.count(), 0, "it comes back with the next try, not by itself");
    await dialog.getByRole("button", { name: "Test it" }).click();
    await refused.waitFor();
    await dialog.getByLabel("Value").fill("eve@client.example");
    await refused.waitFor({ state: "detached" });
    await dialog.getByLabel("Note").fill("She only tests.");
    await inspect(page, "allow-block-add");
    await dialog.getByRole("button", { name: "Test it" }).click();
    await page.waitForURL(/\/changes\/-?\d+$/);
    await page.getByText("Tested, waits for a decision").waitFor({ timeout: SOON_MS });
    await page.getByRole("button", { name: "Let it happen" }).click();
    const activate = page.getByRole("alertdialog");
    const why = activate.getByRole("textbox");
    if (await why.count()) await why.fill("We trust it.");
    await activate.getByRole("button", { name: /^Activate/ }).click();
    await activate.waitFor({ state: "detached" });

    await visit(page, "/allow-block");
    await page.getByRole("row", { name: /eve@client\.example/ }).click();
    const panel = page.locator("aside.panel");
    await panel.getByText("She only tests.").waitFor();
    await inspect(page, "allow-block-entry");
    await panel.getByRole("button", { name: "Take out" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Test it" }).click();
    await page.waitForURL(/\/changes\/-?\d+$/);
    assert.deepEqual(faults.splice(0), []);
    await fails(page, "/allow-block", "list-entries*", "failing-allow-block", '[role="row"]');
  });
});

describe("settings", () => {
  it("trusts sealers, and says which name is none", async () => {
    const { page, faults } = owner;
    await visit(page, "/settings");
    await inspect(page, "settings-owner");
    const sealers = page.getByLabel("Trusted sealers (ARC)");
    await sealers.fill("not a domain !!");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("alert").first().waitFor();
    await inspect(page, "settings-wrong");
    // The line stays while another field is edited, and goes with the field that it speaks of.
    await page.getByLabel(DELAY).fill("901");
    await page.getByLabel(DELAY).fill("900");
    const said = page.getByText("at most 100 domains");
    assert.equal(await said.count(), 2, "in the line, and at the field");
    await sealers.fill("still not !!");
    await said.first().waitFor({ state: "detached" });
    assert.equal(await said.count(), 0);
    await sealers.fill("not a domain !!");
    // To another tab and back: nothing that was typed is lost.
    await page.getByRole("tab", { name: "Accounts" }).click();
    await page.getByRole("tab", { name: "Organisation" }).click();
    await page.getByText("Here is what you had written and not saved.").waitFor();
    assert.equal(await sealers.inputValue(), "not a domain !!");
    await inspect(page, "settings-found");
    await sealers.fill("lists.example.org\nGATEWAY.partner.example");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("The settings are saved.").first().waitFor();
    await visit(page, "/settings");
    assert.equal(await page.getByLabel("Trusted sealers (ARC)").inputValue(), "lists.example.org\ngateway.partner.example");
    const stored = await ask(page, "/settings");
    assert.deepEqual(stored.authentication.trusted_sealers, ["lists.example.org", "gateway.partner.example"]);
    await page.getByText("landfall1", { exact: false }).first().waitFor();
    assert.deepEqual(faults.splice(0), []);
    await fails(page, "/settings", "settings", "failing-settings", "form");
  });

  it("loses nothing of what two administrators save at the same time", async () => {
    const { page, faults } = owner;
    await send("POST", "/accounts", { login: "eva", name: "Eva Noether", role: "administrator", password: PASSWORD });
    const eva = await visitor(browser, site.url);
    await signIn(eva.page, { login: "eva", password: PASSWORD });
    const save = (of) => of.getByRole("button", { name: "Save", exact: true }).click();
    const saved = (of) => of.getByText("The settings are saved.").first().waitFor();
    const newer = (of) => of.getByRole("alert").filter({ hasText: "Somebody else has saved meanwhile." });
    const incident = async () => (await ask(page, "/settings")).incident;
    await visit(page, "/settings");
    await visit(eva.page, "/settings");
    await page.getByLabel(THRESHOLD).fill("25");
    await eva.page.getByLabel(THRESHOLD).fill("40");
    await eva.page.getByLabel(DELAY).fill("120");
    await save(eva.page);
    await saved(eva.page);

    // Refused: nothing of Eva's is replaced, nothing of the owner's is gone, also when the page is loaded again.
    await save(page);
    await newer(page).waitFor();
    assert.deepEqual(await incident(), { threshold_count: 40, delay_ms: 120_000 });
    assert.equal(await page.getByLabel(THRESHOLD).inputValue(), "25");
    await inspect(page, "settings-newer");
    await visit(page, "/settings");
    await newer(page).getByText("What you typed is still here and not saved.").waitFor();
    assert.equal(await page.getByLabel(THRESHOLD).inputValue(), "25");
    await save(page);
    await newer(page).waitFor();
    assert.deepEqual(await incident(), { threshold_count: 40, delay_ms: 120_000 });

    // Looked at: what the owner had left alone is Eva's; hers stands below what both have changed.
    await newer(page).getByRole("button", { name: "Look at what is saved" }).click();
    await page.getByText("Saved now: 40").waitFor();
    assert.equal(await page.getByLabel(THRESHOLD).inputValue(), "25");
    assert.equal(await page.getByLabel(DELAY).inputValue(), "120");
    await inspect(page, "settings-newer-taken");
    await save(page);
    await saved(page);
    await newer(page).waitFor({ state: "detached" });
    assert.deepEqual(await incident(), { threshold_count: 25, delay_ms: 120_000 });

    // Eva, who has typed nothing since, would see that; she types first, is refused, and throws hers away.
    await eva.page.getByLabel(THRESHOLD).fill("50");
    await save(eva.page);
    await newer(eva.page).getByRole("button", { name: "Discard mine" }).click();
    await newer(eva.page).waitFor({ state: "detached" });
    assert.equal(await eva.page.getByLabel(THRESHOLD).inputValue(), "25");
    await eva.page.getByLabel(DELAY).fill("900");
    await save(eva.page);
    await eva.page.getByText("There are changes that are not saved.").waitFor({ state: "detached" });
    assert.deepEqual(await incident(), { threshold_count: 25, delay_ms: 900_000 });
    assert.deepEqual(faults.splice(0).concat(eva.faults), []);
    await eva.context.close();
  });
});

describe("accounts", () => {
  it("makes one for somebody with an address here, who comes in by a link and has a mailbox", async () => {
    const { page, faults } = owner;
    await visit(page, "/settings?tab=accounts");
    await inspect(page, "settings-accounts-owner");
    await page.getByLabel("Login").fill(`carl@${DOMAIN}`);
    await page.getByRole("button", { name: "New account" }).click();
    const made = page.getByRole("status").filter({ hasText: `carl@${DOMAIN}` });
    await made.getByRole("button", { name: "Make a link for Carl Gauss" }).click();
    const link = await made.locator("code").innerText();
    await inspect(page, "settings-account-made");
    const carl = await visitor(browser, site.url);
    await carl.page.goto(link);
    await carl.page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "My mail" }).waitFor();
    await carl.context.close();
    assert.deepEqual(faults.splice(0), []);
  });
});

describe("judging switched off", () => {
  it("stands above every page while it lasts: who, why, until when; and goes away by itself", async () => {
    const { page, faults } = owner;
    await visit(page, "/people");
    const banner = page.getByText("Mail is not judged");
    assert.equal(await banner.count(), 0);
    await site.command("bypass", "on", "--for", "30m", "--reason", "A rule holds everything");
    await banner.waitFor({ timeout: SOON_MS }); // nobody has loaded the page again
    const bar = page.locator(".bypass");
    assert.match(await bar.innerText(), /Until \d\d:\d\d, switched off on the command line: A rule holds everything\. 0 mails/);
    await inspect(page, "bypass-people");
    await site.mail(BOB, "Unjudged");
    await visit(page, "/quarantine");
    await page.getByText("1 mail has come in without a verdict").waitFor({ timeout: SOON_MS });
    await inspect(page, "bypass-quarantine");
    assert.equal(await ada.page.getByText("Mail is not judged").count(), 0, "a recipient is not told");
    await site.command("bypass", "off");
    await banner.waitFor({ state: "detached", timeout: SOON_MS });

    // The same by the console.
    await visit(page, "/settings");
    await page.getByLabel("For how many minutes (at most 240)").fill("1");
    await page.getByRole("button", { name: "Switch judging off" }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByRole("heading", { name: "Switch judging off for 1 minute?" }).waitFor();
    assert.ok(await dialog.getByRole("button", { name: "Switch judging off" }).isDisabled(), "it wants a reason");
    await dialog.getByRole("textbox").fill("To see it in the console");
    await inspect(page, "bypass-dialog");
    await dialog.getByRole("button", { name: "Switch judging off" }).click();
    await banner.waitFor();
    await page.getByRole("button", { name: "Judge mail again" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Judge mail again" }).click();
    await banner.waitFor({ state: "detached" });
    assert.deepEqual(faults.splice(0), []);
  });
});

describe("app passwords", () => {
  it("are made, shown once, and revoked", async () => {
    const { page, faults } = ada;
    await visit(page, "/app-passwords");
    await page.getByText("There is none yet.").waitFor();
    await page.getByText("Your mailbox is kept by “dovecot”", { exact: false }).waitFor();
    await inspect(page, "empty-app-passwords");
    await page.getByLabel("What uses it").fill("Phone");
    await page.getByLabel("Read mail (IMAP)").uncheck();
    await page.getByRole("button", { name: "Make an app password" }).click();
    const once = page.getByRole("status").filter({ hasText: "not shown again" });
    await once.waitFor();
    const secret = await once.locator("code").last().innerText();
    assert.ok(secret.length >= 16, "a secret is shown");
    await inspect(page, "app-password-made");
    const row = page.getByRole("listitem").filter({ hasText: "Phone" });
    assert.match(await row.innerText(), /Send mail \(SMTP\)/);
    await visit(page, "/app-passwords");
    assert.equal(await page.getByText(secret).count(), 0, "it is shown once");
    await page.getByRole("button", { name: "Revoke 1 app password (“Phone”)?" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("There is none yet.").waitFor();
    assert.deepEqual(await ask(page, "/me/app-passwords"), []);
    assert.deepEqual(faults.splice(0), []);
    await fails(page, "/app-passwords", "me/app-passwords", "failing-app-passwords", "form");
  });
});
