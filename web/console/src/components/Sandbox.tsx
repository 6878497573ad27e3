// Mail as HTML in a frame that runs no scripts and reaches nothing of the console. Links open a new tab, where allowed.
interface Props {
  html: string;
  text?: string;
  title: string;
  /** Own mail may be followed; held mail may not. */
  links?: boolean;
  height?: number;
}

/** Scripts, forms and requests are off by the sandbox and by this policy, even if the server missed something. */
const head = (links?: boolean) =>
  `<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:${links ? " http: https:" : ""}; style-src 'unsafe-inline'; font-src data:">` +
  (links ? '<base target="_blank">' : "") +
  `<style>body{font-family:system-ui,sans-serif;margin:16px;color:#222;background:#fff;overflow-wrap:anywhere}pre{white-space:pre-wrap;font-family:inherit}img{max-width:100%}</style>`;

const escaped = (text: string) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c] ?? c);

export function Sandbox({ html, text = "", title, links, height = 420 }: Props) {
  const body = html.trim() ? html : `<pre>${escaped(text)}</pre>`;
  return (
    <iframe
      className="frame"
      title={title}
      sandbox={links ? "allow-popups allow-popups-to-escape-sandbox" : ""}
      referrerPolicy="no-referrer"
      srcDoc={head(links) + body}
      style={{ height }}
    />
  );
}
