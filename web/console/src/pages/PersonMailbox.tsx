// Where a person's mailbox is kept, and keeping it elsewhere from now on.
import { Button, Field, Select } from "@fluentui/react-components";
import { useState } from "react";
import { ConfirmDialog } from "../components/actions";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

const T = S.people;

export function PersonMailbox({ person }: { person: Schemas["PersonDetail"] }) {
  const may = useMay();
  const { mailbox, connectors } = person;
  if (!mailbox) return null;
  return (
    <div className="stack tight">
      <h3>{T.mailbox}</h3>
      <p className="row between">
        <span>
          {mailbox.kept_by ? T.keptBy(mailbox.kept_by) : T.keptHere}
          {mailbox.kept_by && mailbox.item_count > 0 && <span className="quiet"> {T.keptNote(mailbox.item_count)}</span>}
        </span>
        {may("people.write") && (connectors.length > 0 || mailbox.chosen) && <Choose person={person} chosen={mailbox.chosen} />}
      </p>
    </div>
  );
}

function Choose({ person, chosen }: { person: Schemas["PersonDetail"]; chosen: string }) {
  const [connector, setConnector] = useState(chosen);
  const words: [string, string][] = [["", T.keptByDomain], ["embedded", T.keptEmbedded], ...person.connectors.map((name): [string, string] => [name, T.keptBy(name)])];
  return (
    <ConfirmDialog
      title={T.keptTitle(person.name)}
      text={
        <>
          <Field label={T.keptChoice}>
            <Select value={connector} onChange={(_, data) => setConnector(data.value)}>
              {words.map(([value, word]) => (
                <option key={value} value={value}>
                  {word}
                </option>
              ))}
            </Select>
          </Field>
          <p>{T.keptText}</p>
        </>
      }
      go={T.keptGo}
      typed={{ connector }}
      run={async () => {
        await call(api.PUT("/api/v1/people/{id}/mailbox", { params: { path: { id: person.id } }, body: { connector } }));
        return T.keptDone;
      }}
      trigger={(open) => (
        <Button size="small" onClick={open}>
          {T.keptChange}
        </Button>
      )}
    />
  );
}
