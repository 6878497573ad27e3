// Ten thousand rows, on a seeded server: only those in view exist, the next page comes before it is needed, the keyboard
// reaches the end, and whoever opens a row and comes back stands where they were.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ask, inspect, launch, need, shown, signIn, violations, visit, visitor } from "./browser.mjs";

const url = need("LANDFALL_SEEDED_URL", "the address of a server that `landfall seed` filled with 10,000 rows");
const logins = {
  administrator: JSON.parse(need("LANDFALL_SEEDED_LOGIN", 'an administrator: {"login":"…","password":"…"}')),
  recipient: JSON.parse(need("LANDFALL_SEEDED_RECIPIENT", "the recipient with thousands of mails, in the same form")),
};

/** So many rows may exist in the page at once: those in view and some around them. */
const ROWS_IN_PAGE_MAX = 80;
/** The answers of one page of a list hold so many items. */
const PAGE_ITEMS = 200;
/** To the end of a list, or so far. */
const ROWS_WALKED_MAX = 3_000;

/** `rows`: at least so many there are; `walk`: how far the keyboard goes; `open`: whether a row leads to a panel or a page. */
const LISTS = [
  { name: "people", path: () => "/people", rows: 10_000, walk: 10_000, open: "page-panel", narrow: searchPeople, pictures: true },
  { name: "quarantine", path: () => "/quarantine", rows: 10_000, open: "panel", narrow: facet("Released") },
  { name: "trace", path: () => "/trace", rows: 20_000, open: "panel", narrow: searchTrace, pictures: true },
  { name: "recipients", path: townHall, rows: 10_000, walk: 10_000, open: "page", narrow: choosePlace, pictures: true },
  { name: "queue", path: () => "/queue", rows: 1_000, open: "page", pictures: true },
  { name: "campaigns", path: () => "/campaigns", rows: 400, open: "page", pictures: true },
  { name: "allow-block", path: () => "/allow-block", rows: 400, open: "panel", pictures: true },
  { name: "reports", path: () => "/reports", rows: 400, open: "page", pictures: true },
  { name: "changes", path: () => "/changes", rows: 400, open: "page" },
  { name: "incidents", path: () => "/incidents", rows: 100, open: "page" },
  { name: "jobs", path: () => "/jobs", rows: 200, open: "page", pictures: true },
  { name: "audit", path: () => "/settings?tab=audit", rows: 1_000, pictures: true },
  { name: "mail", path: () => "/mail", rows: 3_000, open: "panel", as: "recipient", pictures: true },
];

async function townHall(page) {
  const { items } = await ask(page, "/campaigns");
  return `/campaigns/${items.find((c) => c.name === "Town hall").id}`;
}

async function searchPeople(page) {
  await page.getByRole("searchbox").last().fill("amara");
  await page.waitForFunction(() => document.querySelector('[role="row"][data-index="0"]')?.textContent?.includes("Amara"));
}

async function searchTrace(page) {
  await page.getByLabel("Recipient").fill(logins.recipient.login);
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.waitForFunction((login) => document.querySelector('[role="row"][data-index="0"]')?.textContent?.includes(login), logins.recipient.login);
}

function facet(name) {
  return async (page) => {
    await page.getByRole("group", { name: "Filters" }).getByRole("button", { name: new RegExp(`^${name}`) }).click();
    await page.waitForFunction((word) => document.querySelector('[role="row"][data-index="0"]')?.textContent?.includes(word), name);
  };
}

async function choosePlace(page) {
  await page.locator("#recipients select").selectOption("quarantine");
  await page.getByText("No recipient is in this place now.").waitFor();
}

/** What stands below the list: how many rows are loaded, and whether these are all. */
const foot = (page) =>
  page.evaluate(() => {
    const text = document.querySelector(".table-foot span")?.textContent ?? "";
    return { loaded: Number(/^[\d,]+/.exec(text)?.[0].replaceAll(",", "") ?? 0), all: text.includes("all of them") };
  });
const rowsInPage = (page) => page.locator('[role="row"][data-index]').count();
const focused = (page) => page.evaluate(() => Number(document.activeElement?.getAttribute("data-index") ?? -1));
const scrolled = (page) => page.locator(".table-scroll").evaluate((list) => list.scrollTop);

/** Until focus and place stay as they are for some frames. */
const still = (page) =>
  page.evaluate(
    () =>
      new Promise((done) => {
        let last = "";
        let same = 0;
        const look = () => {
          const at = `${document.activeElement?.getAttribute("data-index")} ${document.querySelector(".table-scroll")?.scrollTop}`;
          same = at === last ? same + 1 : 0;
          last = at;
          if (same >= 5) done();
          else requestAnimationFrame(look);
        };
        look();
      }),
  );

/** By the End key until `wanted` rows were reached, or the last. */
async function walk(page, wanted) {
  await page.locator('[role="row"][data-index="0"]').focus();
  for (const key of ["ArrowDown", "ArrowDown", "ArrowUp", "PageDown"]) await page.keyboard.press(key);
  await page.waitForFunction(() => document.activeElement?.getAttribute("data-index") === "11");
  for (;;) {
    const { loaded, all } = await foot(page);
    if (all || loaded >= wanted) break;
    await page.keyboard.press("End");
    await page.waitForFunction(
      (before) => {
        const text = document.querySelector(".table-foot span")?.textContent ?? "";
        return text.includes("all of them") || Number(/^[\d,]+/.exec(text)?.[0].replaceAll(",", "")) > before;
      },
      loaded,
    );
  }
  // The end as it was when the key was pressed: the next page may come meanwhile.
  const { loaded } = await foot(page);
  await page.keyboard.press("End");
  await page.waitForFunction((last) => Number(document.activeElement?.getAttribute("data-index") ?? -1) >= last, loaded - 1);
}

/** Opens the row that has the focus and comes back the way a reader does. */
async function openAndReturn(page, how) {
  await page.keyboard.press("PageUp");
  await page.keyboard.press("PageUp");
  await still(page);
  const index = await focused(page);
  await page.waitForFunction((at) => document.querySelector(`[role="row"][data-index="${at}"]`), index);
  const before = await scrolled(page);
  const address = page.url();
  await page.keyboard.press("Enter");
  await page.waitForFunction((was) => window.location.href !== was, address);
  await shown(page);
  if (how === "page") {
    assert.equal(await page.locator(".error-state").count(), 0);
    await page.goBack();
  } else {
    await page.locator("aside.panel h2").first().waitFor();
    assert.ok((await rowsInPage(page)) <= ROWS_IN_PAGE_MAX);
    await page.keyboard.press("Escape");
    await page.locator("aside.panel").waitFor({ state: "detached" });
  }
  await page.locator(`[role="row"][data-index="${index}"]`).waitFor();
  await still(page);
  assert.ok(Math.abs((await scrolled(page)) - before) <= 1, `${await scrolled(page)} instead of ${before} pixels after coming back`);
}

describe("ten thousand rows", () => {
  const guests = {};
  let browser;
  before(async () => {
    browser = await launch();
    for (const [role, login] of Object.entries(logins)) {
      guests[role] = await visitor(browser, url);
      await signIn(guests[role].page, login);
    }
  });
  after(() => browser.close());

  for (const list of LISTS) {
    it(list.name, async (t) => {
      const { page, faults } = guests[list.as ?? "administrator"];
      const path = await list.path(page);
      const started = performance.now();
      await page.goto(path);
      await page.locator('[role="row"][data-index="0"]').waitFor();
      t.diagnostic(`first rows after ${Math.round(performance.now() - started)} ms`);
      await shown(page);
      const first = await foot(page);
      assert.ok(first.loaded <= PAGE_ITEMS, `${first.loaded} rows were loaded at once`);
      await walk(page, Math.min(list.walk ?? ROWS_WALKED_MAX, list.rows));
      const { loaded } = await foot(page);
      assert.ok(loaded >= Math.min(list.walk ?? ROWS_WALKED_MAX, list.rows), `only ${loaded} rows came`);
      const there = await rowsInPage(page);
      assert.ok(there > 0 && there <= ROWS_IN_PAGE_MAX, `${there} rows exist in the page`);
      if (list.open) await openAndReturn(page, list.open);
      if (list.pictures) await inspect(page, `rows-${list.name}`);
      else assert.deepEqual(await violations(page), []);
      if (list.narrow) {
        await visit(page, path);
        await list.narrow(page);
        assert.ok((await foot(page)).loaded < loaded, "the filter leaves fewer rows");
      }
      assert.deepEqual(faults.splice(0), []);
    });
  }
});
