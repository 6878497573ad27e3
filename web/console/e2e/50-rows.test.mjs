// Ten thousand rows, on a seeded server: only those in view exist, the next page comes before it is needed, the keyboard reaches the end.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { inspect, launch, need, signIn, visit, visitor } from "./browser.mjs";

const url = need("LANDFALL_SEEDED_URL", "the address of a server with 10,000 people and 10,000 held copies");
const login = JSON.parse(need("LANDFALL_SEEDED_LOGIN", 'an administrator: {"login":"…","password":"…"}'));

const ROWS_MIN = 10_000;
/** So many rows may exist in the page at once: those in view and some around them. */
const ROWS_IN_PAGE_MAX = 80;

const loaded = (page) => page.evaluate(() => Number(/^[\d,]+/.exec(document.querySelector(".table-foot span")?.textContent ?? "0")?.[0].replaceAll(",", "")));

describe("ten thousand rows", () => {
  let browser, guest;
  before(async () => {
    browser = await launch();
    guest = await visitor(browser, url);
    await signIn(guest.page, login);
  });
  after(() => browser.close());

  for (const path of ["/people", "/quarantine"]) {
    it(path, async () => {
      const { page, faults } = guest;
      await visit(page, path);
      await page.locator('[role="row"][data-index="0"]').focus();
      for (let seen = 0; ; ) {
        await page.keyboard.press("End");
        await page.waitForFunction(
          (before) => {
            const foot = document.querySelector(".table-foot span")?.textContent ?? "";
            return foot.includes("all of them") || Number(/^[\d,]+/.exec(foot)?.[0].replaceAll(",", "")) > before;
          },
          seen,
        );
        const now = await loaded(page);
        if (now === seen || (await page.getByText("all of them").count()) > 0) break;
        seen = now;
      }
      assert.ok((await loaded(page)) >= ROWS_MIN, `only ${await loaded(page)} rows came`);
      const rows = await page.locator('[role="row"][data-index]').count();
      assert.ok(rows > 0 && rows <= ROWS_IN_PAGE_MAX, `${rows} rows exist in the page`);
      await page.keyboard.press("End");
      await page.waitForFunction((n) => document.activeElement?.getAttribute("data-index") === String(n), (await loaded(page)) - 1);
      await inspect(page, `rows${path.replace("/", "-")}`);
      assert.deepEqual(faults.splice(0), []);
    });
  }
});
