// People at work: writing a campaign, testing a rule change and stopping it, asking for a release, reading mail, all by the console.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ask, inspect, launch, need, shown, signIn, visit, visitor } from "./browser.mjs";

const url = need("LANDFALL_URL", "the address of a running server that tells the story");
const logins = JSON.parse(need("LANDFALL_LOGINS", "logins by role"));

/** A thousand copies are back after this at the latest. */
const BACK_MS = 60_000;

function as(role, journeys) {
  describe(`the ${role} at work`, () => {
    const at = {};
    before(async () => {
      at.browser = await launch();
      Object.assign(at, await visitor(at.browser, url));
      await signIn(at.page, logins[role]);
    });
    after(() => at.browser.close());
    journeys(at);
  });
}

as("communicator", (at) => {
  it("writes a draft, sees the preview and the checks", async () => {
    const { page } = at;
    const name = `Picnic ${Date.now()}`;
    await visit(page, "/campaigns/new");
    await page.getByLabel("Name", { exact: false }).first().fill(name);
    await page.getByLabel("Subject").fill("Our summer picnic");
    await page.getByRole("button", { name: "Start from a short example" }).click();
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(/\/campaigns\/-?\d+\/edit$/);
    const preview = page.frameLocator('iframe[title="Preview"]');
    await preview.getByText("This is what is new this week.").waitFor();
    await inspect(page, "work-campaign-edit");
    await page.getByRole("link", { name: `← ${name}` }).click();
    await page.getByRole("heading", { name, level: 1, exact: true }).waitFor();
    await page.getByText("This is a draft. Nothing was sent.").waitFor();
    await shown(page);
    // Without a list there is nobody to send to: the button says so instead of sending.
    const send = page.getByRole("button", { name: "Send" });
    assert.equal(await send.getAttribute("aria-disabled"), "true");
    await inspect(page, "work-campaign-draft");
  });

  it("is told which line of a broken template is wrong", async () => {
    const { page } = at;
    await visit(page, "/campaigns/new");
    await page.getByLabel("Name", { exact: false }).first().fill("Broken");
    await page.getByLabel("Subject").fill("Broken");
    await page.getByLabel("Content").fill("<mjml>\n  <mj-body>\n    <mj-section>\n</mjml>\n");
    await page.getByRole("button", { name: "Save" }).click();
    const said = page.getByRole("alert").or(page.locator(".fui-MessageBar")).first();
    await said.waitFor();
    assert.match(await page.locator("main").innerText(), /line \d/i);
  });

  it("finds again what was written and not saved", async () => {
    const { page } = at;
    // Away by the navigation, and back.
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Campaigns" }).click();
    await page.getByRole("heading", { name: "Campaigns", level: 1 }).waitFor();
    await page.getByRole("button", { name: "New campaign" }).click();
    await page.getByText("Here is what you had written and not saved.").waitFor();
    assert.equal(await page.getByLabel("Name", { exact: false }).first().inputValue(), "Broken");
    assert.match(await page.getByLabel("Content").inputValue(), /<mj-section>/);
    await inspect(page, "work-campaign-found");
    await page.getByRole("button", { name: "Discard it" }).click();
    assert.equal(await page.getByLabel("Name", { exact: false }).first().inputValue(), "");
    // Without a name the button says what is missing, and does nothing.
    const save = page.getByRole("button", { name: "Save" });
    assert.equal(await save.getAttribute("aria-disabled"), "true");
    await save.hover();
    await page.getByText("Give it a name first.").waitFor();
  });

  it("follows a number of the first page to the recipients behind it", async () => {
    const { page } = at;
    await visit(page, "/");
    const number = page.getByRole("region", { name: "Last campaigns" }).locator(".bar-legend a").first();
    const place = (await number.getAttribute("aria-label")).replace(/^[\d,]+ /, "");
    await number.click();
    await page.waitForURL(/place=.*#recipients$/);
    await page.locator('#recipients [role="row"][data-index="0"]').waitFor();
    await page.waitForFunction(() => {
      const { top, bottom } = document.querySelector("#recipients h2").getBoundingClientRect();
      return top >= 0 && bottom <= window.innerHeight;
    });
    assert.match(await page.locator('#recipients [role="row"][data-index="0"]').innerText(), new RegExp(place.split(" ").at(-1)));
  });

  it("finds a campaign with the search box and the keyboard alone", async () => {
    const { page } = at;
    await visit(page, "/");
    const { items } = await ask(page, "/campaigns");
    const wanted = items.find((c) => c.state === "sent");
    await page.getByRole("combobox", { name: "Search" }).fill(wanted.name);
    await page.getByRole("option", { name: wanted.name }).first().waitFor();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: wanted.name, level: 1 }).waitFor();
  });

  it("can skip the navigation", async () => {
    const { page } = at;
    await visit(page, "/campaigns");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement?.id), "content");
  });
});

as("administrator", (at) => {
  it("proposes a change, tests it and stops it", async () => {
    const { page } = at;
    await visit(page, "/changes/new");
    await page.getByRole("combobox", { name: /^Feed/ }).fill("e2e-feed");
    await page.getByLabel("Entries, one a line").fill(`nobody-links-here-${Date.now()}.example`);
    await page.getByLabel("Why").fill("To see that the console can do it.");
    await page.getByRole("button", { name: "Propose" }).click();
    await page.waitForURL(/\/changes\/-?\d+$/);
    await page.getByRole("button", { name: "Backtest", exact: true }).click();
    await page.getByText("Tested, waits for a decision").waitFor();
    await page.getByText("No recent mail would be treated otherwise.").waitFor();
    await inspect(page, "work-change-tested");
    await page.getByRole("button", { name: "Stop it here" }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByRole("button", { name: "Stop it here" }).click();
    await page.locator("h1 ~ .fui-Badge", { hasText: "Stopped" }).waitFor();
  });

  it("is told what is wrong with an entry", async () => {
    const { page } = at;
    await visit(page, "/changes/new");
    await page.getByRole("combobox", { name: /^Feed/ }).fill("e2e-feed");
    await page.getByLabel("Entries, one a line").fill("not a host at all !!");
    await page.getByRole("button", { name: "Propose" }).click();
    await page.getByRole("alert").waitFor();
    assert.equal(await page.locator("h1").innerText(), "Propose a change");
  });

  it("sees what a release would do before it happens", async () => {
    const { page } = at;
    await visit(page, "/quarantine?status=needs_review");
    const row = page.locator('[role="row"][data-index="0"]');
    await row.focus();
    await page.keyboard.press("x");
    await page.getByText("1 selected").waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("x");
    await page.getByText("2 selected").waitFor();
    await page.getByRole("button", { name: "Release (2)" }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByRole("heading", { name: "Release 2 copies?" }).waitFor();
    await dialog.getByText("What will happen").waitFor();
    await inspect(page, "work-release-dialog");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.waitForFunction(() => document.activeElement?.textContent === "Release (2)"); // where the keyboard was
    await page.locator('[role="row"][data-index="1"]').focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/item=/);
    await page.getByRole("tab", { name: "Safe preview" }).click();
    // Somebody else's mail: first why, once.
    await page.getByLabel("Why do you read somebody else's mail?").waitFor();
    assert.equal(await page.locator('iframe[title="Safe preview"]').count(), 0);
    await inspect(page, "work-look-reason");
    await page.getByLabel("Why do you read somebody else's mail?").fill("To see what a release would do");
    await page.getByRole("button", { name: "Show it" }).click();
    await page.locator('iframe[title="Safe preview"]').waitFor();
    assert.equal(await page.locator('iframe[title="Safe preview"]').getAttribute("sandbox"), "");
    await page.getByRole("tab", { name: "Headers" }).click();
    await page.getByText(/^Received:|Message-ID:/im).first().waitFor();
    const looks = (await ask(page, "/audit")).items.filter((entry) => entry.action === "quarantine.preview");
    assert.equal(looks[0].reason, "To see what a release would do");
    await page.keyboard.press("Escape");
    await page.waitForFunction(() => !window.location.search.includes("item="));
    await page.waitForFunction(() => document.activeElement?.getAttribute("data-index") === "1"); // back at its row
    await visit(page, "/settings?tab=audit");
    const entry = page.locator('[role="row"]', { hasText: "Read held mail" }).first();
    assert.match(await entry.innerText(), /a held copy/);
    await entry.click();
    await page.waitForURL(/\/quarantine\?item=/);
  });

  it("finds the mail that links to a host, with the search box", async () => {
    const { page } = at;
    const sent = (await ask(page, "/trace")).items.find((item) => item.campaign_id);
    const { urls } = await ask(page, `/trace/${sent.copy_id}`);
    const { host } = new URL(urls[0].url);
    await visit(page, "/");
    await page.getByRole("combobox", { name: "Search" }).fill(host);
    await page.getByRole("option").filter({ hasText: "URL host" }).click();
    await page.waitForURL(/\/trace\?url_host=/);
    await page.locator('[role="row"][data-index="0"]').waitFor();
    assert.equal(await page.getByLabel("Links to the host").inputValue(), host);
    await page.getByRole("button", { name: "Save this view" }).click();
    await page.getByLabel("Name of the view").fill("Our own links");
    await page.keyboard.press("Enter");
    await visit(page, "/trace");
    await page.getByRole("link", { name: "Our own links" }).click();
    await page.waitForURL(/\/trace\?url_host=/);
    await inspect(page, "work-trace-view");
    await page.getByRole("button", { name: "Forget the view “Our own links”" }).click();
    await page.getByRole("link", { name: "Our own links" }).waitFor({ state: "detached" });
  });

  it("imports people, and a bad row is named with its line", async () => {
    const { page } = at;
    await visit(page, "/people");
    await page.getByRole("button", { name: "Import from CSV" }).click();
    const csv = "address,name\nan.guest@contoso.example,A Guest\nnot an address,B Guest\n";
    await page.locator('input[type="file"]').setInputFiles({ name: "people.csv", mimeType: "text/csv", buffer: Buffer.from(csv) });
    await page.getByRole("button", { name: "Import", exact: true }).click();
    await page.getByText(/Nothing was imported/).waitFor();
    await page.locator('button:enabled:has-text("Import")').last().waitFor();
    assert.match(await page.getByRole("dialog").innerText(), /\b3\b/);
    await inspect(page, "work-import");
  });
});

as("administrator", (at) => {
  it("brings the copies back: allows, releases, undoes; the incident is over and says so", async (t) => {
    const { page } = at;
    const open = (await ask(page, "/incidents")).items.find((i) => i.status !== "resolved" && i.impact_count > 0);
    if (!open) return t.skip("no incident is open on this server");
    await visit(page, `/incidents/${open.id}`);
    for (const button of [/^Add an allow entry/, /^Release \(/, /^Undo the change/]) {
      const remedy = page.getByRole("main").getByRole("button", { name: button }).first();
      await remedy.click();
      const dialog = page.getByRole("alertdialog");
      const reason = dialog.getByLabel("Why");
      if (await reason.count()) await reason.fill("It is our own tracking host.");
      await dialog.getByRole("button", { name: button }).click();
      await dialog.waitFor({ state: "detached" });
    }
    // The page follows by itself: nobody loads it again.
    await page.getByText("No copy of it is lost now.").waitFor({ timeout: BACK_MS });
    await page.locator("h1 ~ .fui-Badge", { hasText: "Resolved" }).waitFor({ timeout: BACK_MS });
    await inspect(page, "work-incident-resolved");
    for (const { campaign_id } of (await ask(page, `/incidents/${open.id}`)).campaigns) {
      const { places } = await ask(page, `/campaigns/${campaign_id}/whereabouts`);
      assert.equal(places.find((p) => p.place === "quarantine")?.count ?? 0, 0);
    }
    await visit(page, `/campaigns/${(await ask(page, "/campaigns")).items.find((c) => c.state === "sent").id}`);
    await inspect(page, "work-campaign-back");
  });
});

as("recipient", (at) => {
  it("uses the mailbox", async () => {
    const { page } = at;
    await visit(page, "/mail");
    await page.getByRole("navigation", { name: "Folders" }).getByRole("button", { name: /^Inbox/ }).waitFor();
    const { items: folders } = { items: await ask(page, "/mailbox/folders") };
    const full = folders.find((f) => f.total_count > 0);
    if (!full) return; // everything is held: the story is in its third act
    await visit(page, `/mail?folder=${full.id}`);
    await page.locator('[role="row"][data-index="0"]').click();
    await page.locator("iframe").first().waitFor();
    await page.getByRole("button", { name: "Flag", exact: true }).click();
    await page.getByRole("button", { name: "Remove the flag" }).waitFor();
    await page.getByRole("button", { name: "Remove the flag" }).click();
    await page.getByRole("button", { name: "Flag", exact: true }).waitFor();
    await inspect(page, "work-mail-open");
  });

  it("signs out", async () => {
    const { page } = at;
    await page.getByRole("button", { name: /^Account of/ }).click();
    await page.getByRole("menuitem", { name: "Sign out" }).click();
    await page.getByLabel("Password").waitFor();
    await page.goto("/mail");
    await page.waitForURL(/\/sign-in/);
  });
});
