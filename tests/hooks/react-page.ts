/** The hook for React in a page, and in a server's rendering. */
import { Activity, createElement, type ReactNode, StrictMode, useState } from "react";
import { createRoot, type Root } from "react-dom/client";
import { useStream } from "../../examples/hooks/react.ts";
import { type Demo, type Events, maker, type Props, urlOf, words } from "./demo.ts";

/** What it has heard. */
const heard: string[] = [];

/** Shows the connection's state and the last event. */
export function Notes({ channel, label, ...how }: Props): ReactNode {
  const [last, setLast] = useState("");
  const connection = useStream<Events>(urlOf(channel), {
    note(event) {
      heard.push(`${label} ${event.json().text}`);
      setLast(event.json().text);
    },
    reset: () => heard.push("reset"),
  }, maker({ channel, label, ...how }));
  return createElement(
    "p",
    { title: label },
    createElement("b", { id: "state" }, words(connection)),
    createElement("i", { id: "last" }, last),
  );
}

/** The page's demo; with `strict`, in StrictMode. */
export function demo(strict: boolean): Demo {
  let root: Root;
  let shown: Props;
  const render = (hidden = false) => {
    const notes = createElement(Activity, {
      mode: hidden ? "hidden" : "visible",
      children: createElement(Notes, shown),
    });
    root.render(strict ? createElement(StrictMode, null, notes) : notes);
  };
  return {
    heard,
    mount(props) {
      root = createRoot(document.getElementById("app")!);
      shown = props;
      render();
    },
    update(props) {
      shown = props;
      render();
    },
    hide: render,
    unmount: () => root.unmount(),
  };
}
