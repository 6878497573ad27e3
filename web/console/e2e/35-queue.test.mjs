// The queue with many copies that wait: a group is chosen and paused; every action shows its number first. The copies stay: other
// journeys look at them too.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, inspect, launch, need, signIn, visit, visitor } from "./browser.mjs";

const URL = need("LANDFALL_SEEDED_URL", "the server with many rows, see scripts/test-console.sh");
const LOGIN = JSON.parse(need("LANDFALL_SEEDED_LOGIN", "its administrator"));

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const number = (n) => n.toLocaleString("en");

test("copies are paused by MX group, and a deletion asks first", { timeout: 120_000 }, async () => {
  const { context, page, faults } = await visitor(browser, URL);
  await signIn(page, LOGIN);
  await visit(page, "/queue");
  const [group] = (await ask(page, "/queue/groups")).sort((one, other) => other.count - one.count);
  assert.ok(group.count > 50, "the seeded queue is there");
  const groups = page.getByRole("group", { name: "By MX group" });
  assert.ok((await groups.innerText()).includes(group.last_reply.slice(0, 20)), "the last reply is shown, if there is one");
  await inspect(page, "queue-groups");

  await groups.getByRole("button", { name: group.mx_group, exact: true }).click();
  await page.getByText(`Shown: a part of the queue at ${group.mx_group}.`).waitFor();
  const now = async () => (await ask(page, "/queue/groups")).find((g) => g.mx_group === group.mx_group);
  const open = async (button) => {
    await page.getByRole("button", { name: button, exact: true }).click();
    const dialog = page.getByRole("alertdialog");
    await dialog.getByText(`This means ${number(group.count)} copies`).waitFor();
    return dialog;
  };
  const pause = await open("Pause");
  await pause.getByRole("button", { name: "Pause", exact: true }).click();
  await pause.waitFor({ state: "detached" });
  assert.equal((await now()).held_count, group.count);
  await page.getByText(`${number(group.count)} changed.`).first().waitFor();
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
  await context.close();
});
