# fish completion for hull and hull-img; see hull.bash.
function __hull_complete
    set -l typed (commandline -ct)
    for line in (hull complete -- $argv (commandline -opc)[2..-1] "$typed" 2>/dev/null)
        set -l parts (string split ' ' -- $line)
        switch $parts[1]
            case @files @directories
                set -l kept (string sub -l $parts[2] -- "$typed")
                set -l rest (string sub -s (math $parts[2] + 1) -- "$typed")
                set -l names
                if test $parts[1] = @files
                    set names (__fish_complete_path "$rest")
                else
                    set names (__fish_complete_directories "$rest")
                end
                for name in $names
                    echo -- "$kept$name"
                end
            case '*'
                echo -- $line
        end
    end
end
complete -c hull -f -a '(__hull_complete)'
complete -c hull-img -f -a '(__hull_complete img)'
