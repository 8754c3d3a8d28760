import { Greetings } from "./greetings";

export default function Page() {
  return <Greetings session="ada" />;
}
