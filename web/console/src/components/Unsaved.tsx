// What somebody had typed into a form and not saved is there again: says so, and throws it away when asked.
import { Button, MessageBar, MessageBarActions, MessageBarBody } from "@fluentui/react-components";
import { S } from "../strings";

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
