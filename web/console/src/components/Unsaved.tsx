// What somebody had typed into a form and not saved is there again, or is older than what others have saved since: says so, and
// throws it away when asked.
import { Button, MessageBar, MessageBarActions, MessageBarBody, MessageBarTitle } from "@fluentui/react-components";
import { S } from "../strings";

interface NewerProps {
  /** Where on the page it is, to be scrolled to. */
  id: string;
  /** Whether the newer values have been taken into the form. */
  taken: boolean;
  take: () => void;
  discard: () => void;
}

/** Somebody else has saved meanwhile: says so, offers to look, and leaves what was typed alone until it is thrown away. */
export function Newer({ id, taken, take, discard }: NewerProps) {
  return (
    <MessageBar id={id} intent="warning" layout="multiline" role="alert">
      <MessageBarBody>
        <MessageBarTitle>{S.unsaved.newer}</MessageBarTitle>
        {taken ? S.unsaved.newerTaken : S.unsaved.newerDetail}
      </MessageBarBody>
      <MessageBarActions>
        {!taken && (
          <Button appearance="primary" onClick={take}>
            {S.unsaved.takeNewer}
          </Button>
        )}
        <Button onClick={discard}>{S.unsaved.discardMine}</Button>
      </MessageBarActions>
    </MessageBar>
  );
}

export function Unsaved({ found, discard }: { found: boolean; discard: () => void }) {
  if (!found) return null;
  return (
    <MessageBar intent="info" layout="multiline">
      <MessageBarBody>{S.unsaved.found}</MessageBarBody>
      <MessageBarActions>
        <Button onClick={discard}>{S.unsaved.discard}</Button>
      </MessageBarActions>
    </MessageBar>
  );
}
