// What authentication rests on: the keys that others check us by, and the switch that turns judging off for a while.
import { Button, Field, Input } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ConfirmDialog } from "../components/actions";
import { Section } from "../components/Page";
import { Loaded } from "../components/states";
import { api, call } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

const T = S.settings;

export function DkimKeys() {
  const keys = useQuery({ queryKey: ["dkim-keys"], queryFn: () => call(api.GET("/api/v1/dkim-keys")) });
  return (
    <Section title={T.dkimKeys}>
      <p className="quiet">{T.dkimKeysLead}</p>
      <Loaded query={keys}>
        {(records) => (
          <dl className="dns-records">
            {records.map((record) => (
              <div key={record.name}>
                <dt>
                  <code>{record.name} TXT</code>
                </dt>
                <dd>
                  <code>{record.text}</code>
                </dd>
              </div>
            ))}
          </dl>
        )}
      </Loaded>
    </Section>
  );
}

export function BypassSwitch() {
  const may = useMay();
  const [minutes, setMinutes] = useState("30");
  if (!may("change.activate")) return null;
  return (
    <Section title={T.judging}>
      <p className="quiet">{T.bypassLead}</p>
      <Field label={T.bypassMinutes}>
        <Input type="number" min="1" max="240" value={minutes} onChange={(_, d) => setMinutes(d.value)} />
      </Field>
      <div>
        <ConfirmDialog
          danger
          title={T.bypassTitle(Number(minutes))}
          text={T.bypassText}
          go={T.bypassGo}
          reason={{ label: T.bypassReason, required: true }}
          typed={{ minutes }}
          run={async (reason) => {
            await call(api.PUT("/api/v1/bypass", { body: { minutes: Number(minutes), reason } }));
            return T.bypassDone;
          }}
          trigger={(open) => <Button onClick={open}>{T.bypassGo}</Button>}
        />
      </div>
    </Section>
  );
}
