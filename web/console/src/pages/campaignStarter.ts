// A short mail to start from: a greeting with a merge field, a paragraph, a link.
export const STARTER = `<mjml>
  <mj-head>
    <mj-title>News</mj-title>
    <mj-preview>What is new this week</mj-preview>
  </mj-head>
  <mj-body>
    <mj-section>
      <mj-column>
        <mj-text font-size="20px">Hello {{ name | default("you") }}</mj-text>
        <mj-text>This is what is new this week.</mj-text>
        <mj-button href="https://intranet.example/news">Read the news</mj-button>
        <mj-text font-size="12px"><a href="{{ unsubscribe_url }}">Unsubscribe</a></mj-text>
      </mj-column>
    </mj-section>
  </mj-body>
</mjml>
`;
