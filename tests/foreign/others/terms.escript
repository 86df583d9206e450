#!/usr/bin/env escript
%% The real Erlang: one term in hex a line on stdin; the same term, written again, in hex a line on stdout.
%% The first character says how: p plain, c compressed.

main(_) ->
    case io:get_line("") of
        eof -> ok;
        [How | Line] ->
            Answer =
                try
                    Term = binary_to_term(from_hex(string:trim(Line)), [safe]),
                    to_hex(case How of
                        $c -> term_to_binary(Term, [compressed]);
                        $p -> term_to_binary(Term)
                    end)
                catch
                    _:_ -> "error"
                end,
            io:format("~s~n", [Answer]),
            main([])
    end.

from_hex(Text) -> << <<(list_to_integer([A, B], 16))>> || [A, B] <- pairs(Text) >>.

pairs([A, B | Rest]) -> [[A, B] | pairs(Rest)];
pairs([]) -> [].

to_hex(Binary) -> [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Binary].
