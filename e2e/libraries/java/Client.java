import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.background.BackgroundEventHandler;
import com.launchdarkly.eventsource.background.BackgroundEventSource;
import jakarta.ws.rs.client.ClientBuilder;
import jakarta.ws.rs.sse.SseEventSource;
import java.io.File;
import java.net.URI;
import java.util.LinkedHashMap;
import java.util.Map;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/**
 * Runs one library of pom.xml in its default settings, or lists them.
 *
 * <pre>
 * java Client                        a line {"library", "name"} for each library
 * java Client LIBRARY CAUSE=URL ...  opens all URLs, each under the name of its cause
 * </pre>
 *
 * It prints a line of JSON for all that a program learns from the library: {"cause", "what", "id",
 * "text"}. What is event, error, or end: the library has stopped.
 */
public class Client {
  /** What a library tells its program. */
  interface Program {
    void say(String what, String id, String text);

    default void event(String id) {
      say("event", id == null ? "" : id, "");
    }

    default void error(Throwable t) {
      say("error", "", String.valueOf(t));
    }

    default void end() {
      say("end", "", "");
    }
  }

  /** Opens a stream. It may return before the stream ends; if it throws, the library has stopped. */
  interface Library {
    void open(String url, Program program) throws Exception;
  }

  static void okhttpEventSource(String url, Program program) throws Exception {
    try (EventSource source = new EventSource.Builder(URI.create(url)).build()) {
      for (MessageEvent e : source.messages()) {
        program.event(e.getLastEventId());
      }
    }
    program.end();
  }

  static void background(String url, Program program) {
    BackgroundEventHandler handler = new BackgroundEventHandler() {
      public void onOpen() {}

      public void onClosed() {}

      public void onMessage(String event, MessageEvent e) {
        program.event(e.getLastEventId());
      }

      public void onComment(String comment) {}

      public void onError(Throwable t) {
        program.error(t);
      }
    };
    new BackgroundEventSource.Builder(handler, new EventSource.Builder(ConnectStrategy.http(URI.create(url)))).build().start();
  }

  static void okhttpSse(String url, Program program) {
    EventSourceListener listener = new EventSourceListener() {
      @Override
      public void onEvent(okhttp3.sse.EventSource source, String id, String type, String data) {
        program.event(id);
      }

      @Override
      public void onClosed(okhttp3.sse.EventSource source) {
        program.end();
      }

      @Override
      public void onFailure(okhttp3.sse.EventSource source, Throwable t, Response response) {
        program.say("error", "", t + " " + response);
        program.end();
      }
    };
    // A client of its own for each stream: a client has at most five requests to one host.
    EventSources.createFactory(new OkHttpClient()).newEventSource(new Request.Builder().url(url).build(), listener);
  }

  static void jersey(String url, Program program) {
    SseEventSource source = SseEventSource.target(ClientBuilder.newClient().target(url)).build();
    source.register(e -> program.event(e.getId()), program::error, program::end);
    source.open();
  }

  /** A library, and the beginning of the name of its file. */
  record Named(String jar, Library library) {}

  static final Map<String, Named> libraries = new LinkedHashMap<>();

  static {
    libraries.put("okhttp-eventsource", new Named("okhttp-eventsource-", Client::okhttpEventSource));
    libraries.put("okhttp-eventsource, BackgroundEventSource", new Named("okhttp-eventsource-", Client::background));
    libraries.put("okhttp-sse", new Named("okhttp-sse-", Client::okhttpSse));
    libraries.put("jersey-media-sse", new Named("jersey-media-sse-", Client::jersey));
  }

  public static void main(String[] args) throws InterruptedException {
    if (args.length == 0) {
      libraries.forEach((library, named) -> {
        for (String file : new File("lib").list()) {
          if (file.startsWith(named.jar)) {
            String variant = library.contains(",") ? library.substring(library.indexOf(',')) : "";
            print("library", library, "name", "Java " + file.replaceFirst("-([0-9.]+)\\.jar$", " $1") + variant);
          }
        }
      });
      return;
    }
    Library library = libraries.get(args[0]).library;
    for (int i = 1; i < args.length; i++) {
      int equals = args[i].indexOf('=');
      String cause = args[i].substring(0, equals);
      String url = args[i].substring(equals + 1);
      Program program = (what, id, text) -> print("cause", cause, "what", what, "id", id, "text", text);
      new Thread(() -> {
        try {
          library.open(url, program);
        } catch (Exception e) {
          program.error(e);
          program.end();
        }
      }).start();
    }
    Thread.currentThread().join(); // for ever: some libraries have daemon threads only
  }

  static synchronized void print(String... pairs) {
    StringBuilder line = new StringBuilder("{");
    for (int i = 0; i < pairs.length; i += 2) {
      line.append(i == 0 ? "" : ",").append(quote(pairs[i])).append(":").append(quote(pairs[i + 1]));
    }
    System.out.println(line.append("}"));
  }

  static String quote(String s) {
    return '"' + s.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ") + '"';
  }
}
