/** The composable for Vue in a page, and in a server's rendering. */
import {
  type App,
  createApp,
  defineComponent,
  type DefineSetupFnComponent,
  h,
  ref,
  shallowRef,
} from "vue";
import { useStream } from "../../examples/hooks/vue.ts";
import { type Demo, type Events, maker, type Props, urlOf, words } from "./demo.ts";

/** What it has heard. */
const heard: string[] = [];

/** Shows the connection's state and the last event. */
export const Notes: DefineSetupFnComponent<{ shown: Props }> = defineComponent(
  (props: { shown: Props }) => {
    const last = ref("");
    const connection = useStream<Events>(() => urlOf(props.shown.channel), {
      note(event) {
        heard.push(`${props.shown.label} ${event.json().text}`);
        last.value = event.json().text;
      },
      reset: () => heard.push("reset"),
    }, maker(props.shown));
    return () =>
      h("p", { title: props.shown.label }, [
        h("b", { id: "state" }, words(connection.value)),
        h("i", { id: "last" }, last.value),
      ]);
  },
  { props: ["shown"] },
);

/** The page's demo. */
export function demo(): Demo {
  let app: App;
  const shown = shallowRef<Props>();
  return {
    heard,
    mount(props) {
      shown.value = props;
      app = createApp(() => h(Notes, { shown: shown.value! }));
      app.mount("#app");
    },
    update: (props) => void (shown.value = props),
    unmount: () => app.unmount(),
  };
}
