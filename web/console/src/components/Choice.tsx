// A filter with few values beside what it filters: one word or all of them.
interface Props<T extends string> {
  label: string;
  /** What is chosen, as the address says it; empty or nothing: all. */
  value: string | null | undefined;
  all: string;
  values: readonly T[];
  word: (value: T) => string;
  choose: (value: string) => void;
}

export function Choice<T extends string>({ label, value, all, values, word, choose }: Props<T>) {
  return (
    <label className="row quiet">
      {label}
      <select className="select" value={value ?? ""} onChange={(event) => choose(event.target.value)}>
        <option value="">{all}</option>
        {values.map((one) => (
          <option key={one} value={one}>
            {word(one)}
          </option>
        ))}
      </select>
    </label>
  );
}
