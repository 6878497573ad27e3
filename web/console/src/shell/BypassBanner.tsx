// While judging is switched off, every page of those who answer for it says so, and how to end it.
import { Button, MessageBar, MessageBarActions, MessageBarBody, MessageBarTitle } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { ConfirmDialog } from "../components/actions";
import { api, call } from "../lib/api";
import { shortTime } from "../lib/format";
import { useMay } from "../lib/session";
import { S } from "../strings";

const T = S.bypass;
/** It may be switched on a command line, and it ends by itself: the server is asked again. */
const LOOK_MS = 15_000;

export function BypassBanner() {
  const may = useMay();
  const state = useQuery({ queryKey: ["bypass"], queryFn: () => call(api.GET("/api/v1/bypass")), refetchInterval: LOOK_MS });
  const bypass = state.data?.bypass;
  if (!state.data || !bypass) return null;
  return (
    <MessageBar intent="warning" layout="multiline" className="bypass">
      <MessageBarBody>
        <MessageBarTitle>{T.title}</MessageBarTitle>
        {T.text(shortTime(bypass.until_at), bypass.actor, bypass.reason, state.data.unjudged_count)}
        {state.data.incoming_count > 0 && ` ${T.incoming(state.data.incoming_count)}`}
      </MessageBarBody>
      {may("change.activate") && (
        <MessageBarActions>
          <ConfirmDialog
            title={T.endTitle}
            text={T.endText(state.data.unjudged_count)}
            go={T.end}
            run={async () => {
              await call(api.DELETE("/api/v1/bypass"));
              return T.ended;
            }}
            trigger={(open) => <Button onClick={open}>{T.end}</Button>}
          />
        </MessageBarActions>
      )}
    </MessageBar>
  );
}
