// Mail for oneself that was held back, why, and what one can do about it.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { When } from "../components/Age";
import { ConfirmDialog } from "../components/actions";
import { type Column, DataTable } from "../components/DataTable";
import { Facts, Page as Frame } from "../components/Page";
import { SidePanel } from "../components/SidePanel";
import { EmptyState, Loaded } from "../components/states";
import { api, call, type PageOf, type Schemas, usePages } from "../lib/api";
import { sentence } from "../lib/format";
import { useUrlState } from "../lib/hooks";
import { S } from "../strings";
import { StatusBadge } from "./Quarantine";
import { SafeMail } from "./QuarantinePanel";

type Item = Schemas["QuarantineItem"];
const T = S.myQuarantine;
const at = (id: string) => ({ params: { path: { id } } });
const load = (page: PageOf) => call(api.GET("/api/v1/my/quarantine", { params: { query: page } }));
const loadPreview = (id: string) => call(api.GET("/api/v1/my/quarantine/{id}/preview", at(id)));

const COLUMNS: Column<Item>[] = [
  { id: "subject", header: S.subject, width: "minmax(10rem, 2fr)", on: "main", cell: (i) => i.subject || S.mail.noSubject },
  { id: "from", header: S.from, width: "minmax(9rem, 1.5fr)", cell: (i) => i.sender },
  { id: "reason", header: S.reason, width: "minmax(6rem, 1fr)", on: "wide", cell: (i) => S.quarantine.reason[i.reason] },
  { id: "status", header: S.state, width: "9rem", cell: (i) => <StatusBadge status={i.status} /> },
  { id: "held", header: S.quarantine.heldAt, width: "7.5rem", on: "wide", cell: (i) => <When at={i.held_at} /> },
];

export function Page() {
  const [url, setUrl] = useUrlState();
  const pages = usePages<Item>(["my-quarantine"], load);
  const item = pages.rows.find((i) => i.id === url("item"));
  return (
    <Frame title={T.title} lead={T.lead}>
      <div className={item ? "split split-panel" : "split"}>
        <DataTable
          label={T.title}
          pages={pages}
          columns={COLUMNS}
          rowId={(i) => i.id}
          rowName={(i) => i.subject}
          onOpen={(i) => setUrl({ item: i.id })}
          openId={item?.id}
          empty={<EmptyState title={T.emptyTitle} detail={T.emptyDetail} />}
        />
        {item && <Panel item={item} onClose={() => setUrl({ item: undefined })} />}
      </div>
    </Frame>
  );
}

function Panel({ item, onClose }: { item: Item; onClose: () => void }) {
  const undecided = item.status === "needs_review";
  return (
    <SidePanel title={item.subject || S.mail.noSubject} onClose={onClose}>
      <div className="row">
        <StatusBadge status={item.status} />
        {item.recipient_may_release && item.status !== "released" && item.status !== "expired" && (
          <ConfirmDialog
            title={T.releaseTitle}
            go={T.release}
            run={async () => (await call(api.POST("/api/v1/my/quarantine/{id}/release", at(item.id)))).sentence}
            trigger={(open) => (
              <Button appearance="primary" size="small" onClick={open}>
                {T.release}
              </Button>
            )}
          />
        )}
        {item.recipient_may_request && undecided && (
          <ConfirmDialog
            title={T.requestTitle}
            go={T.request}
            run={async () => (await call(api.POST("/api/v1/my/quarantine/{id}/request", at(item.id)))).sentence}
            trigger={(open) => (
              <Button size="small" onClick={open}>
                {T.request}
              </Button>
            )}
          />
        )}
      </div>
      <WhatNext item={item} />
      <p>{sentence(item.explanation)}</p>
      <Facts
        of={[
          [S.from, item.sender],
          [S.quarantine.heldAt, <When key="h" at={item.held_at} />],
          [S.quarantine.expires, <When key="e" at={item.expires_at} />],
        ]}
      />
      {item.recipient_may_preview && <Preview id={item.id} />}
    </SidePanel>
  );
}

/** What happens next, where there is nothing to press. */
function WhatNext({ item }: { item: Item }) {
  if (item.status === "requested") return <p className="quiet">{T.waits}</p>;
  if (item.status === "denied") return <p className="quiet">{T.denied}</p>;
  const canAct = item.recipient_may_release || item.recipient_may_request;
  return item.status === "needs_review" && !canAct ? <p className="quiet">{T.onlyOthers}</p> : null;
}

function Preview({ id }: { id: string }) {
  const preview = useQuery({ queryKey: ["my-quarantine", "preview", id], queryFn: () => loadPreview(id), staleTime: Number.POSITIVE_INFINITY });
  return (
    <Loaded query={preview} part>
      {(mail) => <SafeMail mail={mail} />}
    </Loaded>
  );
}
