// Release, deny, ask: for one held copy or many. Before a release the server says what would happen.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { ConfirmDialog } from "../components/actions";
import { Loaded, Loading } from "../components/states";
import { api, call, type Schemas } from "../lib/api";
import { useMay } from "../lib/session";
import { S } from "../strings";

type Selection = Schemas["Selection"];

interface Props {
  selection: Selection;
  n: number;
  after?: () => void;
}

const said = (outcome: Schemas["ActionOutcome"]) =>
  outcome.refused_count > 0 ? `${outcome.sentence} ${S.quarantine.refused(outcome.refused_count)}: ${outcome.refused[0]?.why ?? ""}` : outcome.sentence;

export function DecisionButtons({ selection, n, after }: Props) {
  const may = useMay();
  const run = (post: Promise<Schemas["ActionOutcome"]>) =>
    post.then((outcome) => {
      after?.();
      return said(outcome);
    });
  if (!may("quarantine.release")) {
    return (
      <ConfirmDialog
        title={S.quarantine.requestTitle(n)}
        text={<p>{S.quarantine.requestText}</p>}
        go={S.quarantine.go(S.quarantine.request, n)}
        run={() => run(call(api.POST("/api/v1/quarantine/request", { body: selection })))}
        trigger={(open) => (
          <Button size="small" onClick={open}>
            {S.quarantine.go(S.quarantine.request, n)}
          </Button>
        )}
      />
    );
  }
  return (
    <>
      <ConfirmDialog
        title={S.quarantine.releaseTitle(n)}
        text={<ReleasePreview selection={selection} />}
        go={S.quarantine.go(S.quarantine.release, n)}
        run={() => run(call(api.POST("/api/v1/quarantine/release", { body: selection })))}
        trigger={(open) => (
          <Button size="small" appearance="primary" onClick={open}>
            {S.quarantine.go(S.quarantine.release, n)}
          </Button>
        )}
      />
      <ConfirmDialog
        title={S.quarantine.denyTitle(n)}
        text={<p>{S.quarantine.denyText}</p>}
        go={S.quarantine.go(S.quarantine.deny, n)}
        danger
        run={() => run(call(api.POST("/api/v1/quarantine/deny", { body: selection })))}
        trigger={(open) => (
          <Button size="small" onClick={open}>
            {S.quarantine.go(S.quarantine.deny, n)}
          </Button>
        )}
      />
    </>
  );
}

function ReleasePreview({ selection }: { selection: Selection }) {
  const preview = useQuery({
    queryKey: ["quarantine", "release-preview", selection],
    queryFn: () => call(api.POST("/api/v1/quarantine/release/preview", { body: selection })),
    staleTime: 0,
  });
  return (
    <Loaded query={preview} part loading={<Loading lines={2} />}>
      {(effect) => (
        <p>
          <strong>{S.quarantine.willHappen}:</strong> {effect.sentence}
        </p>
      )}
    </Loaded>
  );
}
