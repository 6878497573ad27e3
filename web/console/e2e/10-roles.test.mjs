// Every page that a role has, on a server that tells the story: it shows its content, in light and dark, wide and narrow, with no fault.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { inspect, launch, need, signIn, visit, visitor } from "./browser.mjs";
import { PAGES } from "./pages.mjs";

const url = need("LANDFALL_URL", "the address of a running server that tells the story");
const logins = JSON.parse(need("LANDFALL_LOGINS", 'logins by role: {"communicator":{"login":"…","password":"…"},…}'));

for (const role of ["communicator", "administrator", "analyst", "recipient"]) {
  describe(role, () => {
    let browser, guest;
    before(async () => {
      browser = await launch();
      guest = await visitor(browser, url);
      await signIn(guest.page, logins[role]);
    });
    after(() => browser.close());

    for (const { name, path, title, holds, text } of PAGES.filter((p) => p.roles.includes(role))) {
      it(name, async () => {
        const { page, faults } = guest;
        await visit(page, await path(page));
        if (title) assert.equal(await page.locator("h1").first().innerText(), title);
        assert.match(await page.title(), /· Landfall$/);
        if (holds) await page.locator(holds).first().waitFor();
        if (text) assert.match(await page.locator("main").innerText(), text);
        assert.equal(await page.locator(".error-state").count(), 0, "the page shows an error");
        assert.doesNotMatch(await page.locator("body").innerText(), /\bdelivered\b/i, "the word that this product does not use");
        await inspect(page, `${role}-${name}`);
        assert.deepEqual(faults.splice(0), []);
      });
    }

    it("shows no page of others", async () => {
      const others = PAGES.filter((p) => !p.roles.includes(role) && ["settings", "quarantine", "campaign-new"].includes(p.name));
      for (const { path } of others) {
        const link = await guest.page.locator(`nav a[href="${path()}"]`).count();
        const allowed = role === "communicator" ? path() === "/campaigns/new" : false;
        if (!allowed) assert.equal(link, 0, `${role} sees ${path()}`);
      }
    });

    it("has the search box if there is anything to find", async () => {
      assert.equal(await guest.page.locator(".top-search").count(), role === "recipient" ? 0 : 1);
    });
  });
}
