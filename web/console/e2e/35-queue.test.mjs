// The queue with many copies that were put off: by MX group with the last reply and the next try; tried now, so that busy hosts are
// left alone and the page says why; paused; a deletion asks first. The copies stay: other journeys look at them too.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ask, inspect, launch, need, signIn, visit, visitor } from "./browser.mjs";

const URL = need("LANDFALL_SEEDED_URL", "the server with many rows, see scripts/test-console.sh");
const LOGIN = JSON.parse(need("LANDFALL_SEEDED_LOGIN", "its administrator"));
/** What a host that puts mail off says: a code of 4yz, an enhanced one (RFC 3463), words. */
const PUT_OFF = /\b45\d 4\.\d\.\d \w+/;
/** Copies of one group; there are four groups. */
const COPIES_MIN = 100;
const GROUPS = 4;
/** The agent has tried, written down what limits it, and the page has asked again, after this at the latest. */
const LIMITED_MS = 60_000;

const number = (n) => n.toLocaleString("en");

describe("the queue", { timeout: 180_000 }, () => {
  let browser, page, faults, group;
  const groups = () => page.getByRole("group", { name: "By MX group" });
  const limits = () => page.getByRole("group", { name: "What is being limited now" });
  const rowOf = (table) => table.getByRole("row").filter({ has: page.getByRole("button", { name: group.mx_group, exact: true }) }).first();
  const now = async () => (await ask(page, "/queue/groups")).find((g) => g.mx_group === group.mx_group);
  /** Opens the dialog of an action, which names the number first. */
  const open = async (button) => {
    await page.getByRole("button", { name: button, exact: true }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByText(`This means ${number(group.count)} copies`).waitFor();
    return dialog;
  };
  const shows = () => page.getByText(`Shown: a part of the queue at ${group.mx_group}.`).waitFor();

  before(async () => {
    browser = await launch();
    ({ page, faults } = await visitor(browser, URL));
    await signIn(page, LOGIN);
    await visit(page, "/queue");
    group = (await ask(page, "/queue/groups"))[0];
  });
  after(() => browser.close());

  it("shows by MX group how many wait, the last reply and the next try", async () => {
    const all = await ask(page, "/queue/groups");
    assert.equal(all.length, GROUPS);
    for (const { mx_group, count, last_reply, next_try_at } of all) {
      assert.ok(count >= COPIES_MIN, `${mx_group}: ${count} copies`);
      assert.match(last_reply, PUT_OFF, mx_group);
      assert.ok(next_try_at, `${mx_group} has a next try`);
    }
    const row = await rowOf(groups()).innerText();
    assert.ok(row.includes(number(group.count)), row);
    assert.match(row, PUT_OFF);
    assert.match(row, /\bin \d+ (s|min|h)|\bnow\b/, "the next try");
    await inspect(page, "queue-groups");
    await groups().getByRole("button", { name: group.mx_group, exact: true }).click();
    await shows();
    const first = await page.locator('[role="row"][data-index="0"]').innerText();
    assert.match(first, PUT_OFF, "each copy has its own last reply");
  });

  it("says what is limited, and why, once a host has said that it is too much", async () => {
    const dialog = await open("Try now");
    await dialog.getByRole("button", { name: "Try now", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByText(/\d copies changed/).first().waitFor();
    await rowOf(limits()).waitFor({ timeout: LIMITED_MS });
    const row = await rowOf(limits()).innerText();
    assert.match(row, /Left alone|Fewer connections/);
    assert.match(row, /answered 450 4\.7\.1 too much mail/i, "why");
    assert.match(row, /\d+ of \d+/, "connections");
    assert.match(row, /in \d+ (s|min)|now/, "when it eases");
    await inspect(page, "queue-limits");
    await page.getByRole("button", { name: "Show all", exact: true }).click();
    await page.getByText(/^Shown: a part of the queue/).waitFor({ state: "detached" });
    await limits().getByRole("button", { name: group.mx_group, exact: true }).click();
    await shows();
    assert.equal((await now()).count, group.count, "whatever the host says, the copies wait");
  });

  it("pauses a group, and asks before it deletes", async () => {
    const pause = await open("Pause");
    await pause.getByRole("button", { name: "Pause", exact: true }).click();
    await pause.waitFor({ state: "detached" });
    assert.equal((await now()).held_count, group.count);
    await page.getByText(`${number(group.count)} copies changed.`).first().waitFor();
    await inspect(page, "queue-paused");

    const remove = await open("Delete");
    const go = remove.getByRole("button", { name: "Delete", exact: true });
    assert.ok(await go.isDisabled(), "a deletion wants a reason");
    await remove.getByRole("textbox").fill("the host is gone for good");
    assert.ok(await go.isEnabled());
    await inspect(page, "queue-delete");
    await remove.getByRole("button", { name: "Cancel" }).click();
    await remove.waitFor({ state: "detached" });
    assert.equal((await now()).count, group.count, "nothing was deleted");
    const audit = await ask(page, "/audit");
    assert.equal(audit.items.find((entry) => entry.action === "queue.hold")?.target, `MX group ${group.mx_group}`);
    assert.deepEqual(faults, []);
  });
});
