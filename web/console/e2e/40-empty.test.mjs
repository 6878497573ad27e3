// A server on which nothing happened yet: the owner comes in by the first-run link, and every list says what will be here.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { inspect, launch, need, visit, visitor } from "./browser.mjs";
import { EMPTY } from "./pages.mjs";

const url = need("LANDFALL_EMPTY_URL", "the address of a fresh server");
const link = need("LANDFALL_EMPTY_LINK", "the first-run link that it printed");

describe("empty", () => {
  let browser, guest;
  before(async () => {
    browser = await launch();
    guest = await visitor(browser, url);
  });
  after(() => browser.close());

  it("lets the owner in by the link, once", async () => {
    const { page } = guest;
    const { pathname, hash } = new URL(link, url);
    await page.goto(pathname + hash);
    await page.getByRole("navigation", { name: "Main" }).waitFor();
    const second = await visitor(browser, url);
    await second.page.goto(pathname + hash);
    await second.page.getByRole("heading", { name: "This link does not sign you in" }).waitFor();
    await second.context.close();
  });

  for (const { name, path, says } of EMPTY) {
    it(name, async () => {
      const { page, faults } = guest;
      await visit(page, path);
      await page.getByText(says, { exact: true }).first().waitFor();
      await inspect(page, `empty-${name}`);
      assert.deepEqual(faults.splice(0), []);
    });
  }
});
