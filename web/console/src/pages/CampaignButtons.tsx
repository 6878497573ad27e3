// Edit, send, pause, resume, cancel: what can be done to a campaign in its state. Sending and cancelling name the number and ask once.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "react-router";
import { ConfirmDialog, GuardedButton, useAction } from "../components/actions";
import { ErrorLine } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Campaign = Schemas["Campaign"];
const at = (id: string) => ({ params: { path: { id } } });

export function CampaignButtons({ campaign }: { campaign: Campaign }) {
  const may = useMay();
  if (!may("campaign.write")) return null;
  switch (campaign.state) {
    case "draft":
      return <DraftButtons campaign={campaign} />;
    case "sending":
    case "paused":
      return <SendingButtons campaign={campaign} />;
    default:
      return null;
  }
}

/** Why a draft cannot be sent now; `n` people would get it, as far as known. */
function whyNot({ list_id }: Campaign, n?: number, sendable?: boolean): string | undefined {
  if (!list_id) return S.campaigns.sendNo;
  if (sendable === false) return S.campaigns.sendErrors;
  if (n === undefined) return S.campaigns.sendCounting;
  return n === 0 ? S.campaigns.sendNobody : undefined;
}

function DraftButtons({ campaign }: { campaign: Campaign }) {
  const { id, list_id } = campaign;
  const navigate = useNavigate();
  const list = useQuery({
    queryKey: ["lists", list_id],
    queryFn: () => call(api.GET("/api/v1/lists/{id}", at(list_id ?? ""))),
    enabled: Boolean(list_id),
  });
  const lint = useQuery({ queryKey: ["campaigns", id, "lint"], queryFn: () => call(api.GET("/api/v1/campaigns/{id}/lint", at(id))) });
  const leftOut = list.data?.suppressed_count ?? 0;
  const n = (list.data?.member_count ?? 0) - leftOut;
  const blocked = list.error && !list.data ? S.campaigns.sendUncounted : whyNot(campaign, list.data && n, lint.data?.sendable);
  const send = async () => {
    const sent = await call(api.POST("/api/v1/campaigns/{id}/send", at(id)));
    void navigate(`/campaigns/${id}`);
    return S.campaigns.sendDone(sent.audience_count || n);
  };
  return (
    <>
      <Button onClick={() => void navigate(`/campaigns/${id}/edit`)}>{S.campaigns.editButton}</Button>
      <ConfirmDialog
        title={S.campaigns.sendTitle(n)}
        text={
          <>
            <p>{S.campaigns.sendText(list.data?.name ?? "", n)}</p>
            {list.data && leftOut > 0 && <p>{S.campaigns.leftOut(leftOut, list.data.bounced_count, list.data.complained_count)}</p>}
          </>
        }
        go={S.campaigns.sendGo(n)}
        run={send}
        trigger={(open) => (
          <GuardedButton appearance="primary" onClick={open} blocked={blocked}>
            {S.campaigns.send}
          </GuardedButton>
        )}
      />
    </>
  );
}

function SendingButtons({ campaign }: { campaign: Campaign }) {
  const { id, state } = campaign;
  const remaining = Math.max(0, campaign.progress.total_count - campaign.progress.accepted_count - campaign.progress.failed_count);
  const pause = useAction(async () => {
    await call(api.POST("/api/v1/campaigns/{id}/pause", at(id)));
    return S.campaigns.pauseDone;
  });
  const resume = useAction(async () => {
    await call(api.POST("/api/v1/campaigns/{id}/resume", at(id)));
    return S.campaigns.resumeDone;
  });
  const cancel = async () => {
    await call(api.POST("/api/v1/campaigns/{id}/cancel", at(id)));
    return S.campaigns.cancelDone;
  };
  const failure = pause.error ?? resume.error;
  return (
    <>
      {failure ? <ErrorLine error={failure} /> : null}
      {state === "sending" ? (
        <Button disabled={pause.isPending} onClick={() => pause.mutate()}>
          {S.campaigns.pause}
        </Button>
      ) : (
        <Button appearance="primary" disabled={resume.isPending} onClick={() => resume.mutate()}>
          {S.campaigns.resume}
        </Button>
      )}
      <ConfirmDialog
        title={S.campaigns.cancelTitle(remaining)}
        text={<p>{S.campaigns.cancelText}</p>}
        go={S.campaigns.cancelGo}
        no={S.campaigns.keep}
        danger
        run={cancel}
        trigger={(open) => <Button onClick={open}>{S.campaigns.cancelSend}</Button>}
      />
    </>
  );
}
