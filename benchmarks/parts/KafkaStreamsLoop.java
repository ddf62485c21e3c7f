import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/** Kafka Streams, exactly once: server, prefix, topic to read, topic to write, work, folder for its state. */
public final class KafkaStreamsLoop {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static boolean begun = false;

    private static void begin() {
        if (!begun) {
            begun = true;
            System.out.println("began " + System.currentTimeMillis() / 1000.0);
            System.out.flush();
        }
    }

    private static ObjectNode read(byte[] value) {
        begin();
        try {
            return (ObjectNode) JSON.readTree(value);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static byte[] written(ObjectNode row) {
        try {
            return JSON.writeValueAsBytes(row);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static boolean keeps(ObjectNode row) {
        double level = row.get("level0").doubleValue();
        int count = row.get("count0").intValue();
        return level >= 0 && level <= 1 && count >= 0 && count <= 1000;
    }

    public static void main(String[] given) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given[1] + "streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given[0]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given[5]);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 262144);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> values =
                builder.stream(given[2], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
        Produced<byte[], byte[]> bytes = Produced.with(Serdes.ByteArray(), Serdes.ByteArray());
        switch (given[4]) {
            case "clean_json":
                values.mapValues(KafkaStreamsLoop::read)
                        .filter((key, row) -> keeps(row))
                        .mapValues(KafkaStreamsLoop::written)
                        .to(given[3], bytes);
                break;
            case "keyed_json":
                values.mapValues(KafkaStreamsLoop::read)
                        .selectKey((key, row) -> row.get("id").textValue().getBytes(StandardCharsets.UTF_8))
                        .mapValues(KafkaStreamsLoop::written)
                        .to(given[3], bytes);
                break;
            default:
                values.peek((key, value) -> begin()).to(given[3], bytes);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
