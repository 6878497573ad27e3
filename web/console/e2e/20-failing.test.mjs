// Every page when the API answers 500: it says what happened, what to do and the reference; trying again brings the content.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { inspect, launch, need, shown, signIn, visitor } from "./browser.mjs";
import { PAGES } from "./pages.mjs";

const url = need("LANDFALL_URL", "the address of a running server that tells the story");
const logins = JSON.parse(need("LANDFALL_LOGINS", "logins by role"));

const REFERENCE = "ref-4711";
const PROBLEM = {
  type: "/problems/internal",
  title: "Something failed on the server",
  status: 500,
  detail: "The database did not answer. Nothing was changed.",
  reference: REFERENCE,
};
/** What the frame needs to stand: who is signed in, and the line for news. */
const KEPT = /\/api\/v1\/(me|events|jobs)(\?|$)/;
/** Pages that ask nothing of the server before somebody writes. */
const ASKS_NOTHING = ["campaign-new", "change-new", "password"];

for (const role of ["communicator", "administrator", "recipient"]) {
  describe(`failing for the ${role}`, () => {
    let browser, guest;
    before(async () => {
      browser = await launch();
      guest = await visitor(browser, url);
      await signIn(guest.page, logins[role]);
    });
    after(() => browser.close());

    for (const { name, path, holds } of PAGES.filter((p) => p.roles.includes(role) && !ASKS_NOTHING.includes(p.name))) {
      it(name, async () => {
        const { page } = guest;
        const address = await path(page);
        const asksJobs = name === "jobs";
        let answered = 0;
        await page.route("**/api/v1/**", (route) => {
          if (KEPT.test(route.request().url()) && !(asksJobs && route.request().url().includes("/jobs"))) return route.fallback();
          answered += 1;
          return route.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify(PROBLEM) });
        });
        await page.goto(address);
        const alert = page.getByRole("alert").filter({ hasText: REFERENCE }).first();
        await alert.waitFor();
        assert.ok(answered > 0);
        const text = await alert.innerText();
        assert.match(text, /Something failed on the server/);
        assert.match(text, /Nothing was changed/);
        await shown(page);
        if (role === "administrator" && ["home", "quarantine"].includes(name)) await inspect(page, `failing-${name}`);
        await page.unroute("**/api/v1/**");
        // Parts of a page fail and recover one by one: try each again until none is left.
        const again = page.getByRole("main").getByRole("button", { name: "Try again" });
        for (let left = await again.count(); left > 0; left -= 1) {
          if ((await again.count()) === 0) break;
          await again.first().click();
          await shown(page);
        }
        if (holds) await page.locator(holds).first().waitFor();
        assert.equal(await page.locator(".error-state").count(), 0);
      });
    }
  });
}

describe("an unknown address, and a page of others", () => {
  let browser, guest;
  before(async () => {
    browser = await launch();
    guest = await visitor(browser, url);
    await signIn(guest.page, logins.recipient);
  });
  after(() => browser.close());

  it("says that there is no such page", async () => {
    await guest.page.goto("/no/such/page");
    await shown(guest.page);
    assert.equal(await guest.page.locator("h1").innerText(), "There is no such page");
  });
  it("says that the role may not see it", async () => {
    await guest.page.goto("/quarantine");
    await shown(guest.page);
    assert.equal(await guest.page.locator("h1").innerText(), "Not for your role");
  });
  it("leads to the door and back when nobody is signed in", async () => {
    const { context, page } = await visitor(browser, url);
    await page.goto("/my-quarantine");
    await page.getByLabel("Login").fill(logins.recipient.login);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await inspect(page, "sign-in-wrong");
    await page.getByLabel("Password").fill(logins.recipient.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "My quarantine", level: 1 }).waitFor();
    await context.close();
  });
});
